//! Takes secrets out of text that leaves the gateway.
//!
//! Removed: PEM blocks, values of keys that name a secret (paths in `…_file` stay: a path is no secret),
//! passwords in addresses, and long runs of base64, which is what key material looks like without its
//! frame. Better a fingerprint too few than a key too many.

const REMOVED: &str = "(removed)";

const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "private", "credential"];

/// From this length on, a run of base64 with upper and lower case and digits is taken for a key.
const BASE64_CHARS: usize = 40;

pub(crate) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_pem = false;
    for line in text.lines() {
        let begins = line.contains("-----BEGIN");
        if begins && !in_pem {
            out.push_str(REMOVED);
            out.push('\n');
        }
        in_pem = (in_pem || begins) && !line.contains("-----END");
        if begins || in_pem || line.contains("-----END") {
            continue;
        }
        out.push_str(&without_runs(&without_login(&without_value(line))));
        out.push('\n');
    }
    out
}

/// `key = value` and `key: value` of a secret, wherever in the line: problems and logs quote such pairs.
fn without_value(line: &str) -> String {
    let names_secret = |(at, _): &(usize, &str)| {
        let key = line[..*at].split_whitespace().next_back().unwrap_or_default().to_ascii_lowercase();
        let key = key.trim_matches(['"', '\'', ',', '{']);
        SECRET_WORDS.iter().any(|word| key.contains(word)) && !key.ends_with("_file")
    };
    match line.match_indices(['=', ':']).find(names_secret) {
        Some((at, _)) => format!("{} {REMOVED}", &line[..=at]),
        None => line.to_owned(),
    }
}

/// `scheme://user:password@host`.
fn without_login(line: &str) -> String {
    let Some(scheme) = line.find("://") else { return line.to_owned() };
    let begin = scheme + 3;
    let authority = line[begin..].split(['/', '"', ' ']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{}{REMOVED}{}", &line[..begin], &line[begin + at..]),
        None => line.to_owned(),
    }
}

fn without_runs(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut run = String::new();
    for c in line.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') {
            run.push(c);
        } else {
            flush(&mut out, &mut run);
            out.push(c);
        }
    }
    flush(&mut out, &mut run);
    out
}

fn flush(out: &mut String, run: &mut String) {
    let has = |test: fn(&u8) -> bool| run.bytes().any(|b| test(&b));
    let is_key = run.len() >= BASE64_CHARS
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase);
    out.push_str(if is_key { REMOVED } else { run });
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_go_and_paths_stay() {
        assert_eq!(redacted("password = \"hunter2\"\n"), "password = (removed)\n");
        assert_eq!(redacted("  api_token: abc\n"), "  api_token: (removed)\n");
        let quoted = "agent.toml:7: buffer.password = \"hunter2\": this key is not known\n";
        assert_eq!(redacted(quoted), "agent.toml:7: buffer.password = (removed)\n");
        assert_eq!(
            redacted("x = 1 # no\npassword_file = \"/etc/p\"\n"),
            "x = 1 # no\npassword_file = \"/etc/p\"\n"
        );
        assert_eq!(redacted("url = \"mqtt://u:pw@host/x\"\n"), "url = \"mqtt://(removed)@host/x\"\n");
    }

    #[test]
    fn key_material_goes_with_and_without_its_frame() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        let pem = format!("a\n-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\nb\n");
        assert_eq!(redacted(&pem), "a\n(removed)\nb\n");
        assert_eq!(redacted(&format!("# {body}\n")), "# (removed)\n");
        assert_eq!(
            redacted(&format!("-----BEGIN KEY-----\n{body}\n")),
            "(removed)\n",
            "an end that was cut off"
        );
    }
}
