//! Answers as one HTML file that needs no network: the picture, the history with a slider, the identifiers.

use std::fmt::Write;

use profiles_sync::explain::{Answer, answer::ProfileAnswer};

use super::{
    picture::{Picture, picture},
    svg::{STYLE, health_svg, svg, xml},
    text::text,
    words,
};

const PAGE_STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; background: Canvas; color: CanvasText }
figure { margin: 1rem 0; overflow-x: auto; border: 1px solid GrayText; border-radius: 6px }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .9rem .2rem 0; vertical-align: top }
ol li.later, svg g.later { opacity: .12 }
input[type=range] { width: min(40rem, 100%) } pre { overflow-x: auto; white-space: pre-wrap }
";

/// Shows the history up to a step.
const SCRIPT: &str = "\
const slider = document.getElementById('step');
const show = () => {
  const last = Number(slider.value);
  document.getElementById('shown').textContent = (last + 1) + ' of ' + (Number(slider.max) + 1);
  for (const one of document.querySelectorAll('[data-step]')) one.classList.toggle('later', last < Number(one.dataset.step));
};
if (slider) { slider.addEventListener('input', show); show(); }
";

/// Writes a page.
pub(crate) fn html(answer: &Answer) -> String {
    let drawn = picture(answer);
    let title = drawn.as_ref().map_or_else(|| "Profiles".to_owned(), |drawn| drawn.title.clone());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{0}</title>\n<style>\n{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        xml(&title)
    );
    match (answer, &drawn) {
        (Answer::Health(health), _) => {
            let _ = write!(out, "<figure>\n{}</figure>\n", health_svg(health, false));
        }
        (_, Some(drawn)) => push_picture(&mut out, drawn),
        _ => {}
    }
    if let Answer::Profile(profile) = answer {
        push_identifiers(&mut out, profile);
    }
    let _ = write!(
        out,
        "<h2>In words</h2>\n<pre>{}</pre>\n",
        text(answer).lines().map(xml).collect::<Vec<_>>().join("\n")
    );
    let _ = write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn push_picture(out: &mut String, drawn: &Picture) {
    let _ = write!(out, "<figure>\n{}</figure>\n", svg(drawn, false));
    if drawn.steps.is_empty() {
        return;
    }
    let last = drawn.steps.len() - 1;
    let _ = writeln!(
        out,
        "<h2>Step by step</h2>\n<p><input type=\"range\" id=\"step\" min=\"0\" max=\"{last}\" value=\"{last}\" aria-label=\"Up to which step\"> <output id=\"shown\"></output></p>\n<ol>"
    );
    for (number, step) in drawn.steps.iter().enumerate() {
        let _ = writeln!(out, "<li data-step=\"{number}\">{}</li>", xml(step));
    }
    out.push_str("</ol>\n");
}

fn push_identifiers(out: &mut String, profile: &ProfileAnswer) {
    out.push_str("<h2>Identifiers</h2>\n<table>\n<tr><th>type</th><th>value</th><th>since</th><th>segment id</th></tr>\n");
    for one in &profile.identifiers {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            xml(&one.identifier.type_name),
            xml(&one.identifier.value),
            xml(&words::time(one.timestamp.as_deref())),
            xml(&one.segment_id)
        );
    }
    out.push_str("</table>\n");
}
