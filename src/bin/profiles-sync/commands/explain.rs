//! `explain`: why identifiers are one profile, or not.

use anyhow::Result;
use profiles_sync::{
    error::Error,
    explain::{Answer, ExplainOptions, explain},
    files::Files,
    space::guard::belongs_to_space,
};

use crate::{
    args::{ExplainArgs, ExplainFormat},
    commands::{interruptible, on_threads},
    console::Console,
    exit::Exit,
    explain::{
        graphs::{dot, mermaid},
        html::html,
        picture::picture,
        svg::{health_svg, svg},
        text::text,
    },
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &ExplainArgs, console: &Console) -> Result<Exit> {
    let options = ExplainOptions { space: args.space.clone(), ids: args.ids.clone(), as_of: args.as_of };
    let files = Files::real();
    let answer = on_threads(args.threads.given(), || explain(&options, &files, console))?;
    let answer = interruptible(answer, "interrupted")?;
    console.end_step();
    let bytes = match args.format() {
        ExplainFormat::Json => report::json(&answer)?,
        ExplainFormat::Text => text(&answer).into_bytes(),
        ExplainFormat::Html => html(&answer).into_bytes(),
        ExplainFormat::Svg | ExplainFormat::Mermaid | ExplainFormat::Dot => {
            drawn(&answer, args.format())?.into_bytes()
        }
    };
    match &args.output {
        None => console.data("the explanation", &bytes)?,
        Some(path) if belongs_to_space(path, &[&args.space]) => {
            return Err(Error::file(path, "an explanation cannot go where the tables of a space are")
                .hint("give `-o` a file in another folder")
                .into());
        }
        Some(path) => files.replace(path, &bytes)?,
    }
    Ok(if matches!(answer, Answer::Unknown(_)) { Exit::No } else { Exit::Done })
}

/// Draws an answer.
fn drawn(answer: &Answer, format: ExplainFormat) -> Result<String> {
    if let (Answer::Health(health), ExplainFormat::Svg) = (answer, format) {
        return Ok(health_svg(health, true));
    }
    let Some(picture) = picture(answer) else {
        let error = if matches!(answer, Answer::Health(_)) {
            "there is no such picture of all profiles"
        } else {
            "nobody has the identifier, so there is nothing to draw"
        };
        return Err(Error::Refused(error.to_owned()).hint("use `--format text`").into());
    };
    Ok(match format {
        ExplainFormat::Mermaid => mermaid(&picture),
        ExplainFormat::Dot => dot(&picture),
        _ => svg(&picture, true),
    })
}
