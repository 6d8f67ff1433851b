//! Pictures as text that other programs draw: Mermaid and DOT.

use std::fmt::Write;

use profiles_sync::{escape::escaped, explain::answer::Identifier};

use super::picture::{Node, Picture};

/// Writes a text inside a quoted label of Mermaid, which reads entities.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for character in escaped(text).chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | ' ' | '.' | ',' | '-' | '_' | '@' | ':' | '/' => {
                out.push(character);
            }
            other => {
                let _ = write!(out, "#{};", u32::from(other));
            }
        }
    }
    out
}

/// Writes Mermaid.
pub(crate) fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let _ = writeln!(out, "  %% {}", mermaid_text(&picture.title));
    let node = |number: usize, node: &Node| {
        let Identifier { type_name, value } = &node.identifier;
        let label = format!("{}<br/>{}", mermaid_text(type_name), mermaid_text(value));
        let (open, close) = match type_name.as_str() {
            "user_id" => ("{{", "}}"),
            "email" => ("([", "])"),
            "anonymous_id" => ("(", ")"),
            _ => ("[", "]"),
        };
        format!("n{number}{open}\"{label}\"{close}\n")
    };
    let all = || picture.nodes.iter().enumerate();
    for (number, group) in picture.groups.iter().enumerate() {
        let _ = writeln!(out, "  subgraph g{number}[\"{}\"]", mermaid_text(group));
        for (at, one) in all().filter(|(_, one)| one.group == Some(number)) {
            let _ = write!(out, "    {}", node(at, one));
        }
        out.push_str("  end\n");
    }
    for (at, one) in all().filter(|(_, one)| one.group.is_none()) {
        let _ = write!(out, "  {}", node(at, one));
    }
    for edge in &picture.edges {
        let arrow = match (edge.is_refusal, edge.is_merge) {
            (true, _) => "-.-x",
            (_, true) => "==>",
            _ => "-->",
        };
        let label = if edge.label.is_empty() {
            String::new()
        } else {
            format!("|\"{}\"|", mermaid_text(&edge.label))
        };
        let _ = writeln!(out, "  n{} {arrow}{label} n{}", edge.from, edge.to);
    }
    out.push_str("  classDef outside stroke-dasharray: 4 3\n");
    let outside: Vec<String> =
        all().filter(|(_, one)| one.is_outside).map(|(number, _)| format!("n{number}")).collect();
    if !outside.is_empty() {
        let _ = writeln!(out, "  class {} outside", outside.join(","));
    }
    if 0 < picture.n_left_out {
        let _ = writeln!(out, "  more[\"and {} more identifiers\"]", picture.n_left_out);
    }
    out
}

/// Writes what is between the quotes of a text of DOT.
fn dot_inside(text: &str) -> String {
    escaped(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Writes a quoted text of DOT.
fn dot_text(text: &str) -> String {
    format!("\"{}\"", dot_inside(text))
}

/// Writes DOT.
pub(crate) fn dot(picture: &Picture) -> String {
    let mut out = format!(
        "digraph {{\n  rankdir=LR\n  label={}\n  node [fontname=\"sans-serif\"]\n",
        dot_text(&picture.title)
    );
    let node = |number: usize, node: &Node| {
        let Identifier { type_name, value } = &node.identifier;
        let shape = match type_name.as_str() {
            "user_id" => "hexagon",
            "email" => "ellipse",
            "anonymous_id" => "box",
            _ => "octagon",
        };
        let style = if node.is_outside { ", style=dashed" } else { "" };
        // The line end between type and value is DOT's own.
        let label = format!("\"{}\\n{}\"", dot_inside(type_name), dot_inside(value));
        format!("n{number} [label={label}, shape={shape}{style}]\n")
    };
    let all = || picture.nodes.iter().enumerate();
    for (number, group) in picture.groups.iter().enumerate() {
        let _ = write!(out, "  subgraph cluster_{number} {{\n    label={}\n", dot_text(group));
        for (at, one) in all().filter(|(_, one)| one.group == Some(number)) {
            let _ = write!(out, "    {}", node(at, one));
        }
        out.push_str("  }\n");
    }
    for (at, one) in all().filter(|(_, one)| one.group.is_none()) {
        let _ = write!(out, "  {}", node(at, one));
    }
    for edge in &picture.edges {
        let style = match (edge.is_refusal, edge.is_merge) {
            (true, _) => ", style=dashed, dir=none",
            (_, true) => ", style=bold",
            _ => "",
        };
        let _ = writeln!(out, "  n{} -> n{} [label={}{style}]", edge.from, edge.to, dot_text(&edge.label));
    }
    if 0 < picture.n_left_out {
        let _ =
            writeln!(out, "  more [label=\"and {} more identifiers\", shape=plaintext]", picture.n_left_out);
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_where_they_should() {
        assert_eq!(mermaid_text("a\"]<b>"), "a#34;#93;#60;b#62;");
        assert_eq!(dot_text("a\\\"b"), "\"a\\\\\\\"b\"");
    }
}
