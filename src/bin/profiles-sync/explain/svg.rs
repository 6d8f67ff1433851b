//! Pictures as SVG: a tree from left to right, the same for the same answer on every machine.
//!
//! The links of a profile are a tree, so each identifier stands in the column of its distance from the first one, and in a
//! row of its own or between those of the identifiers that it led to. Types differ by shape and by lightness, so that they
//! can be told apart in grey.

use std::fmt::Write;

use profiles_sync::{escape::escaped, explain::health::Health};

use super::picture::{Edge, Picture};

/// Height of a row.
const ROW: usize = 56;
/// Height of a node.
const NODE: usize = 34;
/// Width between two columns, where the labels of events are.
const GAP: usize = 210;
/// Width of a letter.
const LETTER: usize = 8;
/// Letters of a node; longer texts are cut, and whole when pointed at.
const LETTERS: usize = 36;
/// Space above the first row.
const TOP: usize = 64;
const MARGIN: usize = 20;

/// Colours, for light and dark.
pub(crate) const STYLE: &str = "\
.ps { --ink: #1b1b1f; --paper: #ffffff; --soft: #6b6b76; --user: #f3c26b; --email: #b9d7f5; --anon: #e6e6ea; --other: #c9e7c5; --merge: #b3261e }
@media (prefers-color-scheme: dark) { .ps { --ink: #ececf1; --paper: #17171b; --soft: #a3a3ad; --user: #8a5a00; --email: #1f4d7a; --anon: #3c3c44; --other: #2c5a2a; --merge: #ff8a80 } }
.ps text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: var(--ink) }
.ps .title { font: bold 16px system-ui, sans-serif }
.ps .soft { font: 11px system-ui, sans-serif; fill: var(--soft) }
.ps .label { paint-order: stroke; stroke: var(--paper); stroke-width: 4px }
.ps .node { stroke: var(--ink); stroke-width: 1.2 }
.ps .user_id { fill: var(--user) } .ps .email { fill: var(--email) } .ps .anonymous_id { fill: var(--anon) } .ps .other { fill: var(--other) }
.ps .outside { stroke-dasharray: 5 4; fill: none }
.ps .edge { fill: none; stroke: var(--soft); stroke-width: 1.4 } .ps .merge { stroke: var(--merge); stroke-width: 3 }
.ps .refusal { stroke-dasharray: 5 4; stroke: var(--merge) }
.ps .back { fill: var(--paper) }
";

/// Writes a text as XML: nothing in it is markup, and nothing in it acts.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::new();
    for character in escaped(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn cut(text: &str, most: usize) -> String {
    let text = escaped(text);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    let head: String = text.chars().take(most - 3).collect();
    format!("{head}...")
}

/// Where each node is: its column, and twice its row, as it may be between two.
fn places(picture: &Picture) -> Vec<(usize, usize)> {
    let n_nodes = picture.nodes.len();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    // A merge joins two trees: the one that is merged away is turned round to hang from the identifier that it was found by.
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    for edge in picture.edges.iter().filter(|edge| !edge.is_refusal) {
        neighbours[edge.from].push(edge.to);
        neighbours[edge.to].push(edge.from);
    }
    let mut seen = vec![false; n_nodes];
    let mut places = vec![(0, 0); n_nodes];
    let mut next_row = 0;
    for root in 0..n_nodes {
        if seen[root] {
            continue;
        }
        seen[root] = true;
        let mut order = vec![root];
        let mut at = 0;
        while at < order.len() {
            let node = order[at];
            for &next in &neighbours[node] {
                if !seen[next] {
                    seen[next] = true;
                    places[next].0 = places[node].0 + 1;
                    children[node].push(next);
                    order.push(next);
                }
            }
            at += 1;
        }
        // Leaves get rows from top to bottom, in the order of the tree.
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if children[node].is_empty() {
                places[node].1 = 2 * next_row;
                next_row += 1;
            }
            stack.extend(children[node].iter().rev());
        }
        for &node in order.iter().rev() {
            if let (Some(first), Some(last)) = (children[node].first(), children[node].last()) {
                places[node].1 = usize::midpoint(places[*first].1, places[*last].1);
            }
        }
    }
    places
}

/// Writes the picture as an element `svg`; a whole file also has its style in it.
pub(crate) fn svg(picture: &Picture, is_file: bool) -> String {
    let places = places(picture);
    let labels: Vec<[String; 2]> = (picture.nodes.iter())
        .map(|node| [cut(&node.identifier.type_name, LETTERS), cut(&node.identifier.value, LETTERS)])
        .collect();
    let letters = labels.iter().flatten().map(|text| text.chars().count()).max().unwrap_or_default();
    let node_width = letters * LETTER + 36;
    let x = |column: usize| MARGIN + column * (node_width + GAP);
    let y = |twice_row: usize| TOP + twice_row * ROW / 2;
    let columns = places.iter().map(|place| place.0).max().unwrap_or_default();
    let rows = places.iter().map(|place| place.1).max().unwrap_or_default();
    let legend = picture.groups.len().min(12) * 16;
    let width = (x(columns) + node_width + MARGIN).max(640);
    let height = y(rows) + ROW + MARGIN + legend + 20;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ps\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n",
        xml(&picture.title)
    );
    if is_file {
        let _ = writeln!(out, "<style>\n{STYLE}</style>");
    }
    let _ = writeln!(out, "<rect class=\"back\" width=\"{width}\" height=\"{height}\"/>");
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"30\">{}</text>",
        xml(&cut(&picture.title, 110))
    );
    for edge in &picture.edges {
        push_edge(
            &mut out,
            edge,
            [places[edge.from], places[edge.to]].map(|(column, row)| (x(column), y(row))),
            node_width,
        );
    }
    for ((node, label), &(column, row)) in picture.nodes.iter().zip(&labels).zip(&places) {
        let (x, y) = (x(column), y(row));
        let type_name = node.identifier.type_name.as_str();
        let class =
            if ["user_id", "email", "anonymous_id"].contains(&type_name) { type_name } else { "other" };
        let outside = if node.is_outside { " outside" } else { "" };
        let _ = writeln!(
            out,
            "<g data-step=\"{}\"><title>{} {}</title>{}<text class=\"soft\" x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\">{}</text>{}</g>",
            node.step,
            xml(type_name),
            xml(&node.identifier.value),
            shape(class, outside, x, y, node_width),
            x + 18,
            y + 13,
            xml(&label[0]),
            x + 18,
            y + 28,
            xml(&label[1]),
            node.group.map_or_else(String::new, |group| format!(
                "<text class=\"soft\" x=\"{}\" y=\"{}\">{}</text>",
                x + node_width - 22,
                y + 13,
                group + 1
            )),
        );
    }
    let mut at = y(rows) + ROW + 12;
    for (number, group) in (1..).zip(picture.groups.iter().take(12)) {
        let _ =
            writeln!(out, "<text class=\"soft\" x=\"{MARGIN}\" y=\"{at}\">{number} = {}</text>", xml(group));
        at += 16;
    }
    let mut left_out = Vec::new();
    if 0 < picture.n_left_out {
        left_out.push(format!("{} more identifiers are not shown", picture.n_left_out));
    }
    if 12 < picture.groups.len() {
        left_out.push(format!("{} more segment ids are not listed", picture.groups.len() - 12));
    }
    if !left_out.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"soft\" x=\"{MARGIN}\" y=\"{at}\">{}</text>",
            xml(&left_out.join("; "))
        );
    }
    out.push_str("</svg>\n");
    out
}

fn push_edge(out: &mut String, edge: &Edge, ends: [(usize, usize); 2], node_width: usize) {
    let [from, to] = if ends[0].0 <= ends[1].0 { ends } else { [ends[1], ends[0]] };
    let middle = NODE / 2;
    let kind = match (edge.is_refusal, edge.is_merge) {
        (true, _) => " refusal",
        (_, true) => " merge",
        _ => "",
    };
    let _ = write!(out, "<g data-step=\"{}\">", edge.step);
    let (from_y, to_y, label) = (from.1 + middle, to.1 + middle, xml(&edge.label));
    if from.0 == to.0 {
        // One above the other: round the right side.
        let (x, bend) = (from.0 + node_width, from.0 + node_width + 60);
        let (label_x, label_y) = (bend + 4, usize::midpoint(from_y, to_y));
        let _ = write!(
            out,
            "<path class=\"edge{kind}\" d=\"M{x} {from_y} C{bend} {from_y} {bend} {to_y} {x} {to_y}\"/>\
             <text class=\"soft label\" x=\"{label_x}\" y=\"{label_y}\">{label}</text>"
        );
    } else {
        let (start, end) = (from.0 + node_width, to.0);
        let (bend, label_x, label_y) = (start + 30, end - 6, to_y - 5);
        let _ = write!(
            out,
            "<path class=\"edge{kind}\" d=\"M{start} {from_y} C{bend} {from_y} {start} {to_y} {end} {to_y}\"/>\
             <text class=\"soft label\" x=\"{label_x}\" y=\"{label_y}\" text-anchor=\"end\">{label}</text>"
        );
    }
    out.push_str("</g>\n");
}

/// Writes the shape of a type.
fn shape(class: &str, outside: &str, x: usize, y: usize, width: usize) -> String {
    let (right, bottom, middle) = (x + width, y + NODE, y + NODE / 2);
    let points = |points: &[(usize, usize)]| {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        format!("<polygon class=\"node {class}{outside}\" points=\"{}\"/>", points.join(" "))
    };
    let rect = |round: usize| {
        format!(
            "<rect class=\"node {class}{outside}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{NODE}\" rx=\"{round}\"/>"
        )
    };
    match class {
        "user_id" => points(&[
            (x + 12, y),
            (right - 12, y),
            (right, middle),
            (right - 12, bottom),
            (x + 12, bottom),
            (x, middle),
        ]),
        "email" => rect(NODE / 2),
        "anonymous_id" => rect(4),
        _ => points(&[
            (x + 10, y),
            (right, y),
            (right, bottom - 10),
            (right - 10, bottom),
            (x, bottom),
            (x, y + 10),
        ]),
    }
}

/// Draws how many profiles have how many identifiers.
pub(crate) fn health_svg(health: &Health, is_file: bool) -> String {
    let most = health.sizes.iter().map(|class| class.profiles).max().unwrap_or(1).max(1);
    let height = TOP + health.sizes.len() * 26 + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ps\" viewBox=\"0 0 640 {height}\" width=\"640\" height=\"{height}\" role=\"img\">\n<title>Profiles by number of identifiers</title>\n"
    );
    if is_file {
        let _ = writeln!(out, "<style>\n{STYLE}</style>");
    }
    let _ = writeln!(out, "<rect class=\"back\" width=\"640\" height=\"{height}\"/>");
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"30\">Profiles by number of identifiers</text>"
    );
    for (number, class) in health.sizes.iter().enumerate() {
        let y = TOP + number * 26;
        let range = if class.from == class.to {
            class.from.to_string()
        } else {
            format!("{} to {}", class.from, class.to)
        };
        let width = (class.profiles * 380).div_ceil(most);
        let _ = writeln!(
            out,
            "<text x=\"130\" y=\"{}\" text-anchor=\"end\">{range}</text><rect class=\"node email\" x=\"144\" y=\"{y}\" width=\"{width}\" height=\"18\"/><text x=\"{}\" y=\"{}\">{}</text>",
            y + 14,
            152 + width,
            y + 14,
            class.profiles
        );
    }
    out.push_str("</svg>\n");
    out
}
