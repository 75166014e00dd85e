//! Templates: what they may do, how much of it, and how a secret in them is noticed.
//!
//! The names a template sees are asked for one by one. Asking for a secret marks the whole text as secret,
//! whatever is then done with it: printed, compared, put into another value or dropped again. So no filter and
//! no expression has to know of secrets, and none can lose the mark.

mod check;
mod filters;
mod guard;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

pub(super) use check::{check, check_beside, expression, is_template_file};

use super::folder::FILE_BYTES;
use super::problem::{did_you_mean, shown};
use super::secret::Secret;
use super::words;

/// What one text may cost: an instruction is 1, and so are 64 bytes that are made. So a template makes no more
/// than 12 MiB, and ends within a fraction of a second.
const FUEL: u64 = 200_000;
/// The stack that templates are rendered on, bytes; memory is taken only for what is used of it. A template can
/// make a list of a list of a list … as deep as its fuel lasts, and the engine drops, compares and prints such a
/// value by recursion.
const STACK: usize = 512 * 1024 * 1024;
/// How deep macros may call each other.
const DEEPEST: usize = 50;

/// What a template made.
#[derive(Debug)]
pub(super) struct Made {
    pub text: String,
    /// The secrets it asked for, by name.
    pub secrets: BTreeSet<String>,
}

/// Why a template cannot be rendered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The line in the template, from 1.
    pub line: Option<usize>,
    pub message: String,
}

/// What a template of one bundle sees.
#[derive(Clone)]
pub(super) struct Scope {
    values: Arc<BTreeMap<String, Value>>,
    secrets: Arc<BTreeMap<String, Secret>>,
}

impl Scope {
    pub fn new(values: BTreeMap<String, Value>, secrets: BTreeMap<String, Secret>) -> Self {
        Self { values: Arc::new(values), secrets: Arc::new(secrets) }
    }

    /// The secret of that name.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(self.secrets.keys()).map(String::as_str)
    }
}

/// The names of a scope during one rendering.
struct Names {
    scope: Scope,
    touched: Mutex<BTreeSet<String>>,
}

impl Names {
    fn new(scope: &Scope) -> Arc<Self> {
        Arc::new(Self { scope: scope.clone(), touched: Mutex::default() })
    }

    /// The secrets that were asked for.
    fn touched(&self) -> BTreeSet<String> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("names")
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if let Some(secret) = self.scope.secrets.get(key) {
            self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
            return Some(Value::from(secret.expose()));
        }
        self.scope.values.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// Writes a value as configuration files have it: `true` and `false` in small letters, and nothing that is none.
fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        ValueKind::None => Err(Error::new(
            ErrorKind::InvalidOperation,
            "it is none, and nothing can be written for that; use an if, or default('…', true)",
        )),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Does what parses and renders templates on a stack that no template can exhaust. Should the engine panic, that
/// is an error too.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("render".into()).stack_size(STACK).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the template engine gave up; please report this bundle"))
    })
}

/// Renders templates.
pub(super) struct Engine(Environment<'static>);

impl Engine {
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let mut syntax = environment.syntax().to_builder();
        let syntax = syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
        if let Ok(syntax) = syntax {
            environment.set_syntax(syntax);
        }
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEEPEST);
        // With debugging on, errors carry the values of variables, and `debug()` prints all of them.
        environment.set_debug(false);
        environment.remove_global("debug");
        environment.set_formatter(format);
        filters::add(&mut environment);
        Self(environment)
    }

    /// Renders the text of a file.
    pub fn file(&self, scope: &Scope, name: &str, source: &str) -> Result<Made, Cause> {
        guarded(source, guard::template(source))?;
        let names = Names::new(scope);
        let rendered = self
            .0
            .template_from_named_str(name, source)
            .and_then(|template| template.render(Value::from_dyn_object(Arc::clone(&names))));
        let secrets = names.touched();
        let text = rendered.map_err(|error| cause(&error, source, scope, !secrets.is_empty()))?;
        if text.len() as u64 > FILE_BYTES {
            let message = format!("it makes {} bytes, and {FILE_BYTES} are the most", text.len());
            return Err(Cause { line: None, message });
        }
        Ok(Made { text, secrets })
    }

    /// Renders a text of the manifest, which everybody may see.
    pub fn text(&self, scope: &Scope, source: &str) -> Result<String, Cause> {
        if !words::is_template(source) {
            return Ok(source.to_owned());
        }
        let made = self.file(scope, "bundle.toml", source)?;
        if !made.secrets.is_empty() {
            return Err(Cause {
                line: None,
                message: "a secret may stand in files only: what a manifest says is shown, and arguments are seen by \
                          every user of the node; write the secret to a file and name that"
                    .into(),
            });
        }
        Ok(made.text)
    }

    /// Whether an expression holds.
    pub fn holds(&self, scope: &Scope, expression: &str) -> Result<bool, Cause> {
        guarded(expression, guard::expression(expression))?;
        let names = Names::new(scope);
        let found = self
            .0
            .compile_expression(expression)
            .and_then(|compiled| compiled.eval(Value::from_dyn_object(Arc::clone(&names))))
            .and_then(|value| {
                if value.is_undefined() {
                    Err(Error::from(ErrorKind::UndefinedError))
                } else {
                    Ok(value.is_true())
                }
            });
        if !names.touched().is_empty() {
            let message = "a secret cannot decide what is there; add a variable of type boolean".into();
            return Err(Cause { line: None, message });
        }
        found.map_err(|error| Cause { line: None, ..cause(&error, expression, scope, false) })
    }
}

/// What is too long to be parsed, as an error with its line.
fn guarded(source: &str, checked: Result<(), guard::TooLong>) -> Result<(), Cause> {
    checked.map_err(|long| {
        let line = source.bytes().take(long.at).filter(|byte| *byte == b'\n').count() + 1;
        Cause { line: Some(line), message: long.message.to_owned() }
    })
}

/// An error for a person. When a secret was asked for, it says nothing that may come from a value.
fn cause(error: &Error, source: &str, scope: &Scope, secret: bool) -> Cause {
    // The innermost error says why, and where.
    let mut inner = error;
    while let Some(next) = std::error::Error::source(inner).and_then(|next| next.downcast_ref::<Error>()) {
        inner = next;
    }
    let line = inner.line().or(error.line());
    // Without a place the whole line is shown.
    let place = inner.range().filter(|range| !range.is_empty()).and_then(|range| source.get(range));
    let at =
        place.or_else(|| source.lines().nth(line.unwrap_or(1).saturating_sub(1))).unwrap_or_default().trim();
    let detail = inner.detail().map(shown).unwrap_or_default();
    let message = match inner.kind() {
        ErrorKind::UndefinedError => undefined(at, scope),
        ErrorKind::OutOfFuel => {
            "it takes too long or makes too much; look for a loop over a large range".to_owned()
        }
        ErrorKind::TemplateNotFound => {
            "there is no include, import or extends: a file is made of one template".into()
        }
        ErrorKind::SyntaxError => format!("syntax: {detail}"),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction if !secret => {
            format!("{}: {detail}", inner.kind())
        }
        kind if secret || detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    };
    let message = match (inner.kind(), at) {
        (ErrorKind::UndefinedError | ErrorKind::SyntaxError | ErrorKind::OutOfFuel, _) | (_, "") => message,
        (_, at) => format!("{message} (at `{}`)", shown(at)),
    };
    Cause { line, message }
}

/// Says which name is unknown, and the nearest one.
fn undefined(at: &str, scope: &Scope) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = at.chars().take_while(|c| plain(*c)).collect();
    if name.is_empty() {
        return format!("a name in `{}` has no value", shown(at));
    }
    if scope.names().any(|known| known == name) {
        return format!("`{}` has no value: {name} has nothing of that name", shown(at));
    }
    let near = did_you_mean(&name, scope.names());
    let hint = near.map_or_else(
        || format!("there are {}", scope.names().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean '{near}'?"),
    );
    format!("unknown name '{}'; {hint}", shown(&name))
}
