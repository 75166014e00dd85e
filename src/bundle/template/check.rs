//! The syntax and the names of all templates of a bundle, before anything is rendered.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::check::MANIFEST;
use super::super::facts::NAMES;
use super::super::manifest::{Manifest, ProbeTemplate};
use super::super::problem::{Problem, did_you_mean, shown};
use super::super::{Bundle, words};
use super::{Cause, Engine, Scope, cause, guard, guarded, on_deep_stack};

/// What is wrong in the templates of a bundle. Names are checked only where the bundle needs no other one, whose
/// variables it might use; for those see [`check_beside`].
pub(in super::super) fn check(bundle: &Bundle) -> Vec<Problem> {
    let nothing = BTreeSet::new();
    looked_at(bundle, bundle.manifest.needs.is_empty().then_some(&nothing))
}

/// As [`check`], for a bundle that finds the variables `others` declared by those it needs.
pub(in super::super) fn check_beside(bundle: &Bundle, others: &BTreeSet<String>) -> Vec<Problem> {
    looked_at(bundle, Some(others))
}

fn looked_at(bundle: &Bundle, others: Option<&BTreeSet<String>>) -> Vec<Problem> {
    on_deep_stack(|| checked(bundle, others)).unwrap_or_else(|cause| {
        let message = format!("its templates could not be checked at all: {cause}");
        vec![Problem { file: MANIFEST.into(), line: 0, message }]
    })
}

/// What is wrong with an expression of a manifest, its names apart.
pub(in super::super) fn expression(text: &str) -> Result<(), String> {
    let compile = || {
        guarded(text, guard::expression(text))?;
        let nothing = Scope::new(BTreeMap::new(), BTreeMap::new());
        Engine::new()
            .0
            .compile_expression(text)
            .map(drop)
            .map_err(|error| cause(&error, text, &nothing, false))
    };
    compile().map_err(|cause| cause.message)
}

fn checked(bundle: &Bundle, others: Option<&BTreeSet<String>>) -> Vec<Problem> {
    let mut checker = Checker { engine: Engine::new(), bundle, others, problems: Vec::new() };
    for source in bundle.manifest.sources().into_iter().filter(|source| is_template_file(source)) {
        match bundle.sources.get(source).map(|bytes| std::str::from_utf8(bytes)) {
            Some(Ok(text)) => checker.template(source, text, None),
            Some(Err(_)) => {
                let message = "a template must be UTF-8".into();
                checker.problems.push(Problem { file: source.to_owned(), line: 0, message });
            }
            // The manifest's reader said that it is missing.
            None => {}
        }
    }
    for (line, text) in texts(&bundle.manifest) {
        if words::is_template(text) {
            checker.template(MANIFEST, text, Some(line));
        }
    }
    for (line, expression) in conditions(&bundle.manifest) {
        checker.expression(line, expression);
    }
    checker.problems.sort();
    checker.problems.dedup();
    checker.problems
}

/// Whether a file of the folder is a template.
pub(in super::super) fn is_template_file(source: &str) -> bool {
    source.strip_suffix(".j2").is_some_and(|rest| !rest.is_empty())
}

/// All texts of a manifest that may be templates, with their lines.
fn texts(manifest: &Manifest) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    all.extend(manifest.files.iter().map(|file| (file.line, file.path.as_str())));
    all.extend(
        manifest.packages.iter().filter_map(|package| Some((package.line, package.version.as_deref()?))),
    );
    all.extend(manifest.services.iter().map(|service| (service.line, service.port.as_str())));
    for health in &manifest.health {
        let texts: Vec<&String> = match &health.probe {
            ProbeTemplate::Command(argv) => argv.iter().collect(),
            ProbeTemplate::Tcp(text) | ProbeTemplate::Unit(text) => vec![text],
            ProbeTemplate::Http { url, contains } => vec![url, contains],
        };
        all.extend(texts.into_iter().map(|text| (health.line, text.as_str())));
    }
    for (_, argv) in manifest.hooks.each() {
        all.extend(argv.iter().map(|text| (manifest.hooks.line, text.as_str())));
    }
    all
}

/// All expressions of a manifest, with their lines.
fn conditions(manifest: &Manifest) -> impl Iterator<Item = (usize, &str)> {
    let files = manifest.files.iter().map(|part| (part.line, &part.when));
    let units = manifest.units.iter().map(|part| (part.line, &part.when));
    let health = manifest.health.iter().map(|part| (part.line, &part.when));
    let packages = manifest.packages.iter().map(|part| (part.line, &part.when));
    let services = manifest.services.iter().map(|part| (part.line, &part.when));
    let ansible = manifest.ansible.iter().map(|part| (part.line, &part.when));
    let all = files.chain(units).chain(health).chain(packages).chain(services).chain(ansible);
    all.filter_map(|(line, when)| Some((line, when.as_deref()?)))
}

struct Checker<'b> {
    engine: Engine,
    bundle: &'b Bundle,
    /// Variables of the bundles that it needs; none while these are not known.
    others: Option<&'b BTreeSet<String>>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Checks a template; `line` is where it stands in the manifest, when it is no file.
    fn template(&mut self, file: &str, text: &str, line: Option<usize>) {
        if let Err(cause) = guarded(text, guard::template(text)) {
            return self.wrong(file, line, cause);
        }
        let names = match self.engine.0.template_from_named_str(file, text) {
            Ok(template) => template.undeclared_variables(false),
            Err(error) => return self.syntax(file, line, &error, text),
        };
        self.names(file, line, text, names);
    }

    fn expression(&mut self, line: usize, expression: &str) {
        // The manifest's reader has looked at its syntax.
        let Ok(compiled) = self.engine.0.compile_expression(expression) else { return };
        let names = compiled.undeclared_variables(false);
        self.names(MANIFEST, Some(line), expression, names);
    }

    fn syntax(&mut self, file: &str, line: Option<usize>, error: &minijinja::Error, text: &str) {
        let nothing = Scope::new(BTreeMap::new(), BTreeMap::new());
        self.wrong(file, line, cause(error, text, &nothing, false));
    }

    fn wrong(&mut self, file: &str, line: Option<usize>, cause: Cause) {
        let line = line.or(cause.line).unwrap_or(0);
        self.problems.push(Problem { file: file.to_owned(), line, message: cause.message });
    }

    fn names(&mut self, file: &str, line: Option<usize>, text: &str, names: HashSet<String>) {
        let manifest = &self.bundle.manifest;
        let Some(others) = self.others else { return };
        let known = || manifest.variables.keys().chain(others).map(String::as_str).chain(NAMES);
        for name in names {
            let global = self.engine.0.globals().any(|(global, _)| global == name);
            if global || known().any(|known| known == name) {
                continue;
            }
            let hint = did_you_mean(&name, known()).map(|near| format!("; did you mean '{near}'?"));
            let hint = hint.unwrap_or_else(|| "; declare it under [variables]".into());
            let found = text.lines().position(|line| line.contains(name.as_str())).map_or(0, |at| at + 1);
            let line = line.unwrap_or(found);
            let message = format!("unknown name '{}'{hint}", shown(&name));
            self.problems.push(Problem { file: file.to_owned(), line, message });
        }
    }
}
