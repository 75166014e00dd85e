//! Filters for configuration, beside those that minijinja brings (`tojson`, `join`, `indent`, `default` …).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, Error, ErrorKind, Value};

/// Adds them.
pub(super) fn add(environment: &mut Environment) {
    environment.add_filter("shell_quote", |text: String| shell_quote(&text));
    environment.add_filter("b64encode", |text: String| STANDARD.encode(text));
    environment.add_filter("yaml", yaml);
    environment.add_filter("ini_quote", |text: String| ini_quote(&text));
}

/// One word of a POSIX shell, whatever is in it.
fn shell_quote(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(invalid("a word of a shell cannot have a zero byte"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:,@%+=".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A value of systemd's units and of most INI files: in double quotes, one line.
fn ini_quote(text: &str) -> Result<String, Error> {
    if text.chars().any(char::is_control) {
        return Err(invalid("a quoted value is one line without control characters"));
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")))
}

/// YAML, in block style, without the line break at its end.
fn yaml(value: &Value) -> Result<String, Error> {
    // JSON is what the engine can write; YAML is made from that.
    let json = minijinja::filters::tojson(
        value,
        None,
        minijinja::value::Kwargs::from_iter::<[(String, Value); 0]>([]),
    )?;
    let parsed: serde_json::Value =
        serde_json::from_str(&json.to_string()).map_err(|cause| invalid(&cause.to_string()))?;
    let text = serde_norway::to_string(&parsed).map_err(|cause| invalid(&cause.to_string()))?;
    Ok(text.trim_end().to_owned())
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain", "", "two words", "it's", "$(reboot)", "a\nb", "`x` \"y\" \\z", "-n", "ä*?"] {
            let quoted = shell_quote(text).expect("no zero byte");
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {quoted}x")])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{text}x"), "{quoted}");
        }
        assert!(shell_quote("a\0b").is_err());
    }
}
