//! `bundle.toml` as it is written: tables whose values are asked for by key and type.
//!
//! Serde stops at the first mistake. Here each table is walked by hand, each mistake noted with its line, and
//! what nobody asked for is an unknown key.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Collector, did_you_mean, shown};

/// A value and the line it stands on, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct At<T> {
    pub line: usize,
    pub value: T,
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Table<'a> {
    collector: &'a Collector,
    /// What it is, for messages: `[[file]]`; empty for the top of the file.
    title: String,
    /// Its first line.
    pub line: usize,
    entries: &'a DeTable<'a>,
    asked: BTreeSet<&'static str>,
}

impl<'a> Table<'a> {
    pub fn new(collector: &'a Collector, title: &str, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::over(collector, title, collector.line(&table.span()), table.get_ref())
    }

    fn over(collector: &'a Collector, title: &str, line: usize, entries: &'a DeTable<'a>) -> Self {
        Self { collector, title: title.to_owned(), line, entries, asked: BTreeSet::new() }
    }

    /// Notes a mistake of a line.
    pub fn wrong(&self, line: usize, message: impl AsRef<str>) {
        let message = message.as_ref();
        if self.title.is_empty() {
            self.collector.add(line, message);
        } else {
            self.collector.add(line, format!("{}: {message}", self.title));
        }
    }

    fn get(&mut self, key: &'static str) -> Option<(usize, &'a DeValue<'a>)> {
        self.asked.insert(key);
        let value = self.entries.get(key)?;
        Some((self.collector.line(&value.span()), value.get_ref()))
    }

    fn mismatch(&self, line: usize, key: &str, wanted: &str, found: &DeValue) {
        self.wrong(line, format!("{key} must be {wanted}, not {}", kind(found)));
    }

    /// The text of `key`.
    pub fn text(&mut self, key: &'static str) -> Option<At<String>> {
        let (line, value) = self.get(key)?;
        match value {
            DeValue::String(text) => Some(At { line, value: text.clone().into_owned() }),
            other => {
                self.mismatch(line, key, "a text in quotes", other);
                None
            }
        }
    }

    /// The text of `key`, which must be there; `example` says what to write.
    pub fn required_text(&mut self, key: &'static str, example: &str) -> Option<At<String>> {
        if !self.entries.contains_key(key) {
            self.asked.insert(key);
            self.wrong(self.line, format!("{key} is missing; write for example {key} = {example}"));
            return None;
        }
        self.text(key)
    }

    /// The yes or no of `key`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (line, value) = self.get(key)?;
        match value {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                self.mismatch(line, key, "true or false", other);
                None
            }
        }
    }

    /// The texts of `key`; `what` says what it must be.
    pub fn texts(&mut self, key: &'static str, what: &str) -> Vec<At<String>> {
        let Some((line, value)) = self.get(key) else { return Vec::new() };
        let DeValue::Array(list) = value else {
            self.mismatch(line, key, what, value);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in list {
            let line = self.collector.line(&item.span());
            match item.get_ref() {
                DeValue::String(text) => texts.push(At { line, value: text.clone().into_owned() }),
                other => self.mismatch(line, &format!("each of {key}"), "a text in quotes", other),
            }
        }
        texts
    }

    /// The value of `key`, whatever it is, as JSON.
    pub fn any(&mut self, key: &'static str) -> Option<At<serde_json::Value>> {
        let (line, value) = self.get(key)?;
        match to_json(value) {
            Ok(value) => Some(At { line, value }),
            Err(message) => {
                self.wrong(line, format!("{key}: {message}"));
                None
            }
        }
    }

    /// The number or text of `key`, as text.
    pub fn number_or_text(&mut self, key: &'static str, example: &str) -> Option<At<String>> {
        match self.entries.get(key).map(Spanned::get_ref) {
            Some(DeValue::Integer(number)) => {
                let (line, _) = self.get(key)?;
                Some(At { line, value: number.to_string() })
            }
            _ => self.required_text(key, example),
        }
    }

    /// The table of `key`.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let (line, value) = self.get(key)?;
        if let DeValue::Table(entries) = value {
            return Some(Table::over(self.collector, &format!("[{key}]"), line, entries));
        }
        self.mismatch(line, key, &format!("a table: [{key}]"), value);
        None
    }

    /// The tables of `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some((line, value)) = self.get(key) else { return Vec::new() };
        let wanted = format!("a list of tables: [[{key}]]");
        let DeValue::Array(list) = value else {
            self.mismatch(line, key, &wanted, value);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in list {
            let line = self.collector.line(&item.span());
            match item.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(Table::over(self.collector, &format!("[[{key}]]"), line, entries));
                }
                other => self.mismatch(line, key, &wanted, other),
            }
        }
        tables
    }

    /// The named tables of `[key.NAME]`.
    pub fn named(&mut self, key: &'static str) -> Vec<(At<String>, Table<'a>)> {
        let Some((line, value)) = self.get(key) else { return Vec::new() };
        let DeValue::Table(entries) = value else {
            self.mismatch(line, key, &format!("tables: [{key}.NAME]"), value);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in entries {
            let name = At { line: self.collector.line(&name.span()), value: name.get_ref().to_string() };
            match value.get_ref() {
                DeValue::Table(entries) => {
                    let title = format!("[{key}.{}]", shown(&name.value));
                    tables.push((name.clone(), Table::over(self.collector, &title, name.line, entries)));
                }
                other => {
                    self.mismatch(name.line, &shown(&name.value), &format!("a table: [{key}.NAME]"), other);
                }
            }
        }
        tables
    }

    /// Ends the reading: what nobody asked for is an unknown key.
    pub fn finish(self) {
        for key in self.entries.keys().filter(|key| !self.asked.contains(key.get_ref().as_ref())) {
            let line = self.collector.line(&key.span());
            let unknown = shown(key.get_ref());
            let valid = self.asked.iter().copied();
            if let Some(near) = did_you_mean(key.get_ref(), valid.clone()) {
                self.wrong(line, format!("unknown key '{unknown}'; did you mean '{near}'?"));
            } else {
                let valid = valid.collect::<Vec<_>>().join(", ");
                self.wrong(line, format!("unknown key '{unknown}'; there are {valid}"));
            }
        }
    }
}

/// What a value is, for a person.
fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A TOML value as JSON; the parser bounds how deep it nests.
fn to_json(value: &DeValue) -> Result<serde_json::Value, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| {
                format!("{} is too large for a number; write it in quotes", shown(&number.to_string()))
            })?
            .into(),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .ok_or_else(|| {
                format!("{} is no number that JSON has; write it in quotes", shown(number.as_str()))
            })?
            .into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(_) => return Err("a date is no value of a variable; write it in quotes".into()),
        DeValue::Array(list) => {
            list.iter().map(|item| to_json(item.get_ref())).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), to_json(value.get_ref())?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()?
            .into(),
    })
}
