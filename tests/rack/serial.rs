//! The log of a serial console, as a person would have seen it.

/// Text without terminal control: escape sequences, carriage returns and zero bytes go; iPXE takes back what it
/// wrote (its prompts) with backspaces, and so does this.
pub fn readable(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // Most sequences have two characters (`ESC c`); CSI goes on: parameters, then one final letter.
            '\x1b' => {
                if chars.next() == Some('[') {
                    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\x08' if !out.ends_with('\n') => drop(out.pop()),
            '\x08' | '\r' | '\0' => {}
            c => out.push(c),
        }
    }
    out
}

/// The last `count` lines that say something.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
