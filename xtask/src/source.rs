//! Rust source with comments and strings blanked out, so that braces and words mean code.
//!
//! Line structure is kept: line n of the blanked text is line n of the source.

/// Replaces comments, strings and character literals by spaces.
#[must_use]
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        if end > at + 1 || matches!(bytes[at], b'"') {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    // Only whole tokens were replaced, so multi-byte characters outside them are intact.
    String::from_utf8_lossy(&out).into_owned()
}

/// End of the comment or literal that starts at `at`, or `at + 1` if none does.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block_comment(rest);
    }
    let word_before = at > 0 && is_word(bytes[at - 1]);
    match rest[0] {
        b'"' => at + string(rest),
        b'r' if !word_before => raw_string(&rest[1..]).map_or(at + 1, |length| at + 1 + length),
        b'b' if !word_before && rest.get(1) == Some(&b'r') => {
            raw_string(&rest[2..]).map_or(at + 1, |length| at + 2 + length)
        }
        b'\'' => at + character(rest),
        _ => at + 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `rest` starts behind the `r`; `None` if this is no raw string.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = &rest[hashes + 1..];
    let found = body.windows(close.len()).position(|window| window == close);
    Some(found.map_or(rest.len(), |at| hashes + 1 + at + close.len()))
}

/// A character literal, or 1 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'');
        return close.map_or(1, |at| at + 4);
    }
    let close = rest.iter().take(6).skip(2).position(|byte| *byte == b'\'');
    match close {
        // 'a' or one multi-byte character; anything longer is a lifetime.
        Some(0) => 3,
        Some(at) if rest[1] >= 0x80 => at + 3,
        _ => 1,
    }
}

/// Lines (from 0) that belong to modules compiled for tests only.
#[must_use]
pub fn test_lines(source: &str, blanked: &str) -> Vec<bool> {
    let lines: Vec<&str> = blanked.lines().collect();
    let mut tests = vec![false; source.lines().count()];
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let end = item_end(&lines, at + 1);
            tests[at..=end].fill(true);
            at = end;
        }
        at += 1;
    }
    tests
}

/// Last line of the item that starts at `start`: where its braces close, or its semicolon.
#[must_use]
pub fn item_end(lines: &[&str], start: usize) -> usize {
    let (mut depth, mut opened) = (0i32, false);
    for (at, line) in lines.iter().enumerate().skip(start) {
        for byte in line.bytes() {
            match byte {
                b'{' => (depth, opened) = (depth + 1, true),
                b'}' => depth -= 1,
                b';' if depth == 0 && !opened => return at,
                _ => {}
            }
            if opened && depth == 0 {
                return at;
            }
        }
    }
    lines.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        let blanked =
            blank("let a = \"{\"; // {\nlet b = '{'; /* { /* { */ } */ let c = r#\"{\"#;");
        assert!(!blanked.contains('{') && !blanked.contains('}'));
        assert_eq!(blanked.lines().count(), 2);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(blank("fn f<'a>(x: &'a u8) { '\\'' }"), "fn f<'a>(x: &'a u8) {      }");
    }

    #[test]
    fn test_modules_are_found() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let tests = test_lines(source, &blank(source));
        assert_eq!(tests, [false, true, true, true, true, false]);
    }
}
