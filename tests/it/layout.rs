//! Checks the dependencies between the files of the library.
//!
//! A module uses only modules above it in `src/lib.rs`, files have no cyclic dependencies, and the first figure in
//! `docs/architecture.md` shows the dependencies between modules. Each file uses the files that its paths lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use regex::Regex;

use crate::support::{project, project_text};

type ModulePath = Vec<String>;
type Arrows = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// Returns the text of each file of the library by module path, without `lib.rs`, the program and unit test files.
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

/// Returns the text of a file without comments and without its unit tests, which come last.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Returns all paths of a `use` tree: `a::{b, c::d}` gives `a::b` and `a::c::d`.
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

/// Returns the paths in a file: those of `use` lines, and those in the code. A path into a child module gets the prefix
/// `self::`.
fn paths_of(text: &str) -> Vec<String> {
    let uses = Regex::new(r"\buse ([^;]*);").unwrap();
    let declared = Regex::new(r"\bmod (\w+);").unwrap();
    let written = Regex::new(r"\b(\w+)(?:::\w+)+").unwrap();
    let code = code(text);
    let children: BTreeSet<&str> =
        declared.captures_iter(&code).map(|found| found.extract::<1>().1[0]).collect();
    let mut paths: Vec<String> = uses.captures_iter(&code).flat_map(|found| expand(&found[1])).collect();
    let rest = uses.replace_all(&code, "");
    paths.extend(written.find_iter(&rest).map(|path| path.as_str().to_owned()));
    let of_child = |path: &String| path.split("::").next().is_some_and(|first| children.contains(first));
    let as_child = |path: String| if of_child(&path) { format!("self::{path}") } else { path };
    paths.into_iter().map(as_child).collect()
}

/// Returns the file that a path in `module` refers to; `None` if it is not another file of the library.
fn target(path: &str, module: &ModulePath, modules: &BTreeMap<ModulePath, String>) -> Option<ModulePath> {
    let mut segments = path.split("::").map(str::trim).peekable();
    let mut target = match *segments.peek()? {
        "crate" => Vec::new(),
        "super" | "self" => module.clone(),
        _ => return None,
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
    (!target.is_empty() && target != *module).then_some(target)
}

/// Returns the files that each file uses.
fn arrows() -> Arrows {
    let modules = modules();
    let used = |module: &ModulePath, text: &str| {
        paths_of(text).iter().filter_map(|path| target(path, module, &modules)).collect()
    };
    modules.iter().map(|(module, text)| (module.clone(), used(module, text))).collect()
}

/// Returns the modules in the order of `src/lib.rs`: each comes after all modules that it may use.
fn order() -> Vec<String> {
    let declared = Regex::new(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);").unwrap();
    let modules = project_text("src/lib.rs");
    declared.captures_iter(&modules).map(|found| found[1].to_owned()).collect()
}

/// Removes all files that are neither in a cycle nor on a path between two cycles, and returns the rest.
fn circles(mut arrows: Arrows) -> Arrows {
    loop {
        let before = arrows.len();
        let with_arrows: BTreeSet<_> =
            arrows.iter().filter(|(_, used)| !used.is_empty()).map(|(module, _)| module.clone()).collect();
        let used: BTreeSet<_> = arrows.values().flatten().cloned().collect();
        arrows.retain(|module, _| with_arrows.contains(module) && used.contains(module));
        let left: BTreeSet<_> = arrows.keys().cloned().collect();
        for used in arrows.values_mut() {
            used.retain(|other| left.contains(other));
        }
        if arrows.len() == before {
            return arrows;
        }
    }
}

/// Returns the dependencies between modules, without those that follow from others.
fn shortest_arrows() -> BTreeSet<(String, String)> {
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, used) in arrows() {
        let others = used.into_iter().map(|other| other[0].clone()).filter(|other| *other != module[0]);
        direct.entry(module[0].clone()).or_default().extend(others);
    }
    let mut reachable: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in order() {
        let used = direct.get(&name).into_iter().flatten();
        let all = used.flat_map(|other| {
            let further = reachable.get(other).into_iter().flatten();
            further.chain([other]).cloned().collect::<Vec<_>>()
        });
        let all = all.collect();
        reachable.insert(name, all);
    }
    let implied = |used: &BTreeSet<String>, other: &String| {
        used.iter().any(|between| reachable.get(between).is_some_and(|all| all.contains(other)))
    };
    let arrows = direct.iter().flat_map(|(name, used)| {
        used.iter().filter(|other| !implied(used, other)).map(|other| (name.clone(), other.clone()))
    });
    arrows.collect()
}

#[test]
fn a_module_uses_only_modules_above_it() {
    let order = order();
    let position = |name: &String| {
        order.iter().position(|module| module == name).unwrap_or_else(|| panic!("`{name}` is not in lib.rs"))
    };
    let mut wrong = Vec::new();
    for (module, used) in arrows() {
        for other in used {
            if position(&module[0]) < position(&other[0]) {
                wrong.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "these files use modules further down:\n{}", wrong.join("\n"));
}

#[test]
fn files_have_no_cyclic_dependencies() {
    let left = circles(arrows());
    let lines: Vec<_> = left
        .iter()
        .map(|(module, used)| {
            let used: Vec<_> = used.iter().map(|other| other.join("::")).collect();
            format!("{} uses {}", module.join("::"), used.join(", "))
        })
        .collect();
    assert!(lines.is_empty(), "cyclic dependencies:\n{}", lines.join("\n"));
}

#[test]
fn cycles_are_found_and_chains_are_not() {
    let path = |name: &str| vec![name.to_owned()];
    let of = |arrows: &[(&str, &[&str])]| -> Arrows {
        arrows.iter().map(|(from, to)| (path(from), to.iter().map(|name| path(name)).collect())).collect()
    };
    let chain: &[(&str, &[&str])] = &[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])];
    assert!(circles(of(chain)).is_empty());
    let circle: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])];
    assert_eq!(circles(of(circle)).into_keys().collect::<Vec<_>>(), [path("b"), path("c")]);
}

#[test]
fn paths_are_found_in_use_lines_and_in_code() {
    let text = "mod child;\n// use crate::comment;\npub use crate::{a::{self, B}, c::d as e};\n\
        fn f() { child::g(); super::h::i(); std::mem::take(); }\n#[cfg(test)]\nmod tests { use crate::z; }\n";
    let expected =
        ["crate::a::self", "crate::a::B", "crate::c::d", "self::child::g", "super::h::i", "std::mem::take"];
    assert_eq!(paths_of(text), expected);
}

#[test]
fn the_figure_of_the_architecture_page_shows_the_dependencies() {
    let page = project_text("docs/architecture.md");
    let (_, figure) = page.split_once("```mermaid\n").expect("the page has a figure");
    let (figure, _) = figure.split_once("```").expect("the figure ends");
    let shown: BTreeSet<(String, String)> = figure
        .lines()
        .filter_map(|line| line.trim().split_once(" --> "))
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect();
    let there = shortest_arrows();
    let lines: Vec<_> = there.iter().map(|(from, to)| format!("    {from} --> {to}")).collect();
    assert_eq!(shown, there, "the figure must have these lines:\n{}", lines.join("\n"));
}
