//! Tells real texts from what firmware makers leave in when they have nothing to say.

/// In lower case, without the blanks around them.
const PLACEHOLDERS: [&str; 34] = [
    "to be filled by o.e.m.",
    "to be filled by oem",
    "to be filled",
    "default string",
    "default",
    "not specified",
    "not available",
    "not provided",
    "not present",
    "not applicable",
    "not settable",
    "none",
    "null",
    "n/a",
    "na",
    "unknown",
    "undefined",
    "invalid",
    "empty",
    "[empty]",
    "o.e.m.",
    "oem",
    "no dimm",
    "no module installed",
    "no asset tag",
    "no asset information",
    "system manufacturer",
    "system product name",
    "system serial number",
    "chassis serial number",
    "chassis asset tag",
    "asset tag",
    "serial number",
    "part number",
];

/// The text without blanks around it; empty when it is a placeholder, or one character over and over.
pub fn known(text: String) -> String {
    let trimmed = text.trim();
    let lower = trimmed.to_lowercase();
    let mut chars = lower.chars();
    let first = chars.next();
    let filler =
        first.is_some_and(|c| "0f.-x_*# ".contains(c)) && lower.len() > 1 && chars.all(|c| Some(c) == first);
    let counted = lower.len() >= 8 && ("0123456789".starts_with(&lower) || "1234567890".starts_with(&lower));
    if filler || counted || PLACEHOLDERS.contains(&lower.as_str()) {
        return String::new();
    }
    if trimmed.len() == text.len() { text } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_serial_numbers() {
        for text in [
            "",
            "  ",
            "To Be Filled By O.E.M.",
            " Default string ",
            "00000000",
            "FFFFFFFF",
            "0123456789",
            "..",
            "N/A",
        ] {
            assert_eq!(known(text.into()), "", "{text}");
        }
        for text in ["CZ2D1X0GN7", "00000001", "1234567", "7", "F", "Dell Inc."] {
            assert_eq!(known(text.into()), text);
        }
        assert_eq!(known(" HMA82GR7CJR8N-WM  ".into()), "HMA82GR7CJR8N-WM");
    }
}
