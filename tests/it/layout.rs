//! The direction of the code: which module uses which, read from the `use` lines.
//!
//! A module uses those above it in [`ORDER`] and never those below it, no two files use each other in a circle, and the figure
//! in `docs/architecture.md` shows what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::support::{project, project_text};

/// The modules of the library, each after all that it uses.
const ORDER: [&str; 22] = [
    "bytes",
    "collections",
    "escape",
    "error",
    "progress",
    "files",
    "names",
    "catalog",
    "time",
    "json",
    "config",
    "event",
    "read",
    "table",
    "identity",
    "raw",
    "summary",
    "view",
    "space",
    "pipeline",
    "jobs",
    "diff",
];

type ModulePath = Vec<String>;

/// The files of the library by module path, without the program and without `lib.rs`.
fn modules() -> BTreeMap<ModulePath, String> {
    fn walk(folder: &Path, path: &mut ModulePath, modules: &mut BTreeMap<ModulePath, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            let stem = entry.file_stem().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                if stem != "bin" {
                    path.push(stem);
                    walk(&entry, path, modules);
                    path.pop();
                }
                continue;
            }
            let mut module = path.clone();
            match stem.as_str() {
                "lib" | "tests" => continue,
                "mod" => {}
                _ => module.push(stem),
            }
            modules.insert(module, fs::read_to_string(&entry).unwrap());
        }
    }
    let mut modules = BTreeMap::new();
    walk(&project("src"), &mut Vec::new(), &mut modules);
    modules
}

/// The text of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// All paths of a `use` tree: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    for (at, next) in inside.char_indices().chain([(inside.len(), ',')]) {
        match next {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inside[start..at].trim();
                if !item.is_empty() {
                    paths.extend(expand(item).into_iter().map(|path| format!("{prefix}{path}")));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// The modules that a file names in `use` lines and in paths that begin with `crate`.
fn used_by(module: &ModulePath, text: &str, modules: &BTreeMap<ModulePath, String>) -> BTreeSet<ModulePath> {
    let code = code(text);
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let is_word = at == 0 || !code.as_bytes()[at - 1].is_ascii_alphanumeric();
        if let Some((tree, _)) = code[at + 4..].split_once(';').filter(|_| is_word) {
            paths.extend(expand(tree));
        }
    }
    for (at, _) in code.match_indices("crate::") {
        let path: String = code[at..]
            .chars()
            .take_while(|next| next.is_alphanumeric() || matches!(next, ':' | '_'))
            .collect();
        paths.push(path);
    }
    let mut used = BTreeSet::new();
    for path in paths {
        let mut segments = path.split("::").map(str::trim).peekable();
        let mut target = match segments.peek() {
            Some(&"crate") => Vec::new(),
            Some(&("super" | "self")) => module.clone(),
            _ => continue,
        };
        for segment in segments {
            match segment {
                "crate" | "self" => {}
                "super" => drop(target.pop()),
                _ => target.push(segment.to_owned()),
            }
        }
        while !target.is_empty() && !modules.contains_key(&target) {
            target.pop();
        }
        if !target.is_empty() && target != *module {
            used.insert(target);
        }
    }
    used
}

fn arrows() -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let modules = modules();
    modules.iter().map(|(module, text)| (module.clone(), used_by(module, text, &modules))).collect()
}

fn position(module: &ModulePath) -> usize {
    ORDER
        .iter()
        .position(|name| *name == module[0])
        .unwrap_or_else(|| panic!("`{}` is not in ORDER", module[0]))
}

#[test]
fn a_module_uses_only_those_above_it() {
    let mut wrong = Vec::new();
    for (module, used) in arrows() {
        for other in used {
            if position(&module) < position(&other) {
                wrong.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut arrows = arrows();
    // Take away files that use nothing that is left, until none is left or only circles are.
    loop {
        let done: Vec<_> =
            arrows.iter().filter(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()).collect();
        if done.is_empty() {
            break;
        }
        for module in &done {
            arrows.remove(module);
        }
        for used in arrows.values_mut() {
            used.retain(|other| !done.contains(other));
        }
    }
    // And files that nothing left uses.
    loop {
        let used: BTreeSet<_> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|module, _| used.contains(module));
        if arrows.len() == before {
            break;
        }
    }
    let circles: Vec<_> = arrows
        .iter()
        .map(|(module, used)| {
            let used: Vec<_> = used.iter().map(|other| other.join("::")).collect();
            format!("{} uses {}", module.join("::"), used.join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "in circles:\n{}", circles.join("\n"));
}

/// The arrows between top-level modules that no longer way already gives.
fn shortest_arrows() -> BTreeSet<(String, String)> {
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, used) in arrows() {
        let others = used.into_iter().map(|other| other[0].clone()).filter(|other| *other != module[0]);
        direct.entry(module[0].clone()).or_default().extend(others);
    }
    let mut reachable: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in ORDER {
        let mut all = BTreeSet::new();
        for other in direct.get(name).into_iter().flatten() {
            all.insert(other.clone());
            all.extend(reachable.get(other).into_iter().flatten().cloned());
        }
        reachable.insert(name.to_owned(), all);
    }
    let mut shortest = BTreeSet::new();
    for (name, used) in &direct {
        for other in used {
            if !used.iter().any(|between| reachable[between].contains(other)) {
                shortest.insert((name.clone(), other.clone()));
            }
        }
    }
    shortest
}

#[test]
fn the_figure_of_the_architecture_page_shows_the_modules() {
    let page = project_text("docs/architecture.md");
    let (_, figure) = page.split_once("```mermaid\n").expect("no figure");
    let (figure, _) = figure.split_once("```").expect("the figure has no end");
    let shown: BTreeSet<(String, String)> = figure
        .lines()
        .filter_map(|line| line.trim().split_once(" --> "))
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect();
    let there = shortest_arrows();
    let lines: Vec<_> = there.iter().map(|(from, to)| format!("    {from} --> {to}")).collect();
    assert_eq!(shown, there, "the figure is to have these lines:\n{}", lines.join("\n"));
}
