//! Mistakes in a bundle, collected so that its author sees all of them at once.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// The most mistakes that are told of one text; the rest would only hide the first.
const MOST: usize = 100;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the bundle's folder.
    pub file: String,
    /// The line at fault, from 1; 0 when the whole file is.
    pub line: usize,
    /// What is wrong, and what to write.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}, line {line}: {}", self.file, self.message),
        }
    }
}

/// All mistakes of a bundle, in the order of their lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// Collects mistakes while a text is read, and knows its lines.
#[derive(Debug)]
pub(super) struct Collector {
    file: String,
    /// Where each line but the first starts, in bytes.
    starts: Vec<usize>,
    found: RefCell<Vec<Problem>>,
}

impl Collector {
    pub fn new(file: &str, text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file: file.to_owned(), starts: starts.collect(), found: RefCell::default() }
    }

    /// The line of what stands at `span`, from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        self.starts.partition_point(|start| *start <= span.start) + 1
    }

    /// Adds a mistake of a line, unless there are too many already.
    pub fn add(&self, line: usize, message: impl Into<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() < MOST {
            found.push(Problem { file: self.file.clone(), line, message: message.into() });
        }
    }

    /// What was found, in the order of the lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        found
    }
}

/// "; did you mean 'x'?" for the nearest of `valid`, or nothing when none is near.
pub(super) fn did_you_mean<'a>(unknown: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name that long is no slip of a key, and the distance costs its square.
    if unknown.len() > 100 {
        return None;
    }
    valid
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, unknown), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(unknown.len()) / 2)
        .map(|(_, name)| name)
}

/// Text from a bundle as it may stand in a message: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
