//! Patterns with `*` and `?`, as IAM, suppressions and cases write them.

/// Whether the pattern fits the whole text.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    matches(pattern.as_bytes(), text.as_bytes(), |a, b| a == b)
}

/// The same in any case: as IAM compares actions and ARNs here.
pub(crate) fn like_in_any_case(pattern: &str, text: &str) -> bool {
    matches(pattern.as_bytes(), text.as_bytes(), |a, b| a.eq_ignore_ascii_case(&b))
}

fn matches(pattern: &[u8], text: &[u8], same: fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || same(c, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(like_in_any_case("arn:*:x/?b*", "arn:aws:x/abc"));
        assert!(!like_in_any_case("a*c", "ab"));
        assert!(like("*", ""));
        assert!(like("*a*b", "xaxxab"));
        assert!(!like("A", "a"));
        assert!(!like("", "a"));
    }
}
