//! A bundle together with those it needs: whether they go round, and whether its templates know every name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::check::MANIFEST;
use super::folder::Bundle;
use super::problem::{Problem, Problems};
use super::template;

/// Looks at what `bundle` needs, and at what those need; `find` gives the bundle of a name. Where one of them is not known yet,
/// names in templates are left for later: it may declare them.
///
/// # Errors
/// Needs that go round, and names that nobody declares.
pub fn check(bundle: &Bundle, find: impl Fn(&str) -> Option<Arc<Bundle>>) -> Result<(), Problems> {
    let own = bundle.manifest.name.as_str();
    // Who was the first to need it.
    let mut by: BTreeMap<String, String> = BTreeMap::new();
    let (mut found, mut all) = (BTreeMap::new(), true);
    let mut due: VecDeque<(String, Vec<String>)> =
        VecDeque::from([(own.to_owned(), bundle.manifest.needs.clone())]);
    while let Some((name, needs)) = due.pop_front() {
        for need in needs {
            if need == own {
                let message = format!("needs go round: {}; break the circle", round(own, &name, &by));
                let line = bundle.text.lines().position(|line| line.trim_start().starts_with("needs"));
                let line = line.map_or(0, |line| line + 1);
                return Err(Problems(vec![Problem { file: MANIFEST.into(), line, message }]));
            }
            if by.contains_key(&need) {
                continue;
            }
            by.insert(need.clone(), name.clone());
            match find(&need) {
                Some(other) => {
                    due.push_back((need.clone(), other.manifest.needs.clone()));
                    found.insert(need, other);
                }
                None => all = false,
            }
        }
    }
    if !all || found.is_empty() {
        return Ok(());
    }
    let others = found.values().flat_map(|other| other.manifest.variables.keys().cloned()).collect();
    let problems = template::check_beside(bundle, &others);
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// `a needs b, b needs c, c needs a`, for `last` that needs `own`.
fn round(own: &str, last: &str, by: &BTreeMap<String, String>) -> String {
    let (mut steps, mut at) = (vec![format!("{last} needs {own}")], last);
    while let Some(before) = by.get(at) {
        steps.push(format!("{before} needs {at}"));
        at = before;
    }
    steps.reverse();
    steps.join(", ")
}
