//! From a JSON pointer to the bytes it names, and from a byte to its line and column.

use std::collections::HashMap;
use std::ops::Range;

/// The bytes of the value that `pointer` (RFC 6901) names in `text`; nothing when it is not there or the JSON is
/// broken on the way to it.
pub fn span(text: &str, pointer: &str) -> Option<Range<usize>> {
    Finder::new(text).span(pointer)
}

/// Like [`span`], but of the nearest value on the way that is there.
pub fn span_or_parent(text: &str, pointer: &str) -> Option<Range<usize>> {
    Finder::new(text).span_or_parent(pointer)
}

/// Finds values in one document and remembers where the items of the lists it went through begin.
#[derive(Debug)]
pub struct Finder<'t> {
    bytes: &'t [u8],
    /// By the offset of a list's `[`: where its items begin, as far as they were looked at.
    items: HashMap<usize, Vec<usize>>,
}

impl<'t> Finder<'t> {
    pub fn new(text: &'t str) -> Finder<'t> {
        Finder { bytes: text.as_bytes(), items: HashMap::new() }
    }

    pub fn span(&mut self, pointer: &str) -> Option<Range<usize>> {
        let way = self.follow(pointer)?;
        if way.whole { Some(way.at..skip_value(self.bytes, way.at)?) } else { None }
    }

    pub fn span_or_parent(&mut self, pointer: &str) -> Option<Range<usize>> {
        let way = self.follow(pointer)?;
        Some(way.at..skip_value(self.bytes, way.at)?)
    }

    /// The object that holds the value which [`Finder::span_or_parent`] finds.
    pub fn holder(&mut self, pointer: &str) -> Option<Range<usize>> {
        let holder = self.follow(pointer)?.holder?;
        if self.bytes[holder] == b'{' { Some(holder..skip_value(self.bytes, holder)?) } else { None }
    }

    fn follow(&mut self, pointer: &str) -> Option<Way> {
        let mut at = skip_space(self.bytes, 0);
        let mut holder = None;
        self.bytes.get(at)?;
        let Some(tokens) = pointer.strip_prefix('/') else {
            return Some(Way { at, holder, whole: pointer.is_empty() });
        };
        for token in tokens.split('/') {
            let next = match self.bytes.get(at) {
                Some(b'{') => unescape_token(token).and_then(|key| member(self.bytes, at, &key)),
                Some(b'[') => index(token).and_then(|i| self.item(at, i)),
                _ => None,
            };
            match next {
                Some(next) => {
                    holder = Some(at);
                    at = next;
                }
                None => return Some(Way { at, holder, whole: false }),
            }
        }
        Some(Way { at, holder, whole: true })
    }

    fn item(&mut self, list: usize, wanted: usize) -> Option<usize> {
        let known = self.items.entry(list).or_default();
        if known.is_empty() {
            let first = skip_space(self.bytes, list + 1);
            if matches!(self.bytes.get(first), None | Some(b']')) {
                return None;
            }
            known.push(first);
        }
        while known.len() <= wanted {
            let end = skip_space(self.bytes, skip_value(self.bytes, *known.last()?)?);
            if self.bytes.get(end) != Some(&b',') {
                return None;
            }
            known.push(skip_space(self.bytes, end + 1));
        }
        known.get(wanted).copied()
    }
}

/// How far a pointer leads.
struct Way {
    /// Where the last value that is there begins.
    at: usize,
    /// Where the list or object begins that holds it.
    holder: Option<usize>,
    /// Whether it is the one that was asked for.
    whole: bool,
}

/// Where the value of `key` begins in the object at `at`.
fn member(bytes: &[u8], at: usize, key: &str) -> Option<usize> {
    let mut at = skip_space(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let end = skip_string(bytes, at)?;
        let name = bytes.get(at + 1..end - 1)?;
        at = skip_space(bytes, end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(bytes, at + 1);
        if same_key(name, key) {
            return Some(at);
        }
        at = skip_space(bytes, skip_value(bytes, at)?);
        if bytes.get(at) != Some(&b',') {
            return None;
        }
        at = skip_space(bytes, at + 1);
    }
    None
}

/// A token of the pointer as a key: `~1` is `/`, `~0` is `~`.
fn unescape_token(token: &str) -> Option<String> {
    let mut key = String::with_capacity(token.len());
    let mut rest = token;
    while let Some((before, after)) = rest.split_once('~') {
        key += before;
        key.push(match after.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        rest = &after[1..];
    }
    Some(key + rest)
}

/// A token of the pointer as the number of an item; no sign, no leading zero.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

/// Whether the raw `name` between the quotes of a key spells `key`.
fn same_key(name: &[u8], key: &str) -> bool {
    if name.contains(&b'\\') { unescape(name).is_some_and(|name| name == key) } else { name == key.as_bytes() }
}

/// The text that the inside of a JSON string stands for.
fn unescape(raw: &[u8]) -> Option<String> {
    let raw = std::str::from_utf8(raw).ok()?;
    let mut text = String::with_capacity(raw.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next()? {
                'u' => {
                    units.push(u16::from_str_radix(chars.as_str().get(..4)?, 16).ok()?);
                    chars = chars.as_str().get(4..)?.chars();
                    continue;
                }
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            c => c,
        };
        text += &String::from_utf16(&units).ok()?;
        units.clear();
        text.push(plain);
    }
    text += &String::from_utf16(&units).ok()?;
    Some(text)
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The offset after the value that begins at `at`.
fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => skip_string(bytes, at),
        b'{' | b'[' => skip_container(bytes, at),
        b't' => bytes[at..].starts_with(b"true").then_some(at + 4),
        b'f' => bytes[at..].starts_with(b"false").then_some(at + 5),
        b'n' => bytes[at..].starts_with(b"null").then_some(at + 4),
        b'-' | b'0'..=b'9' => {
            let rest = &bytes[at..];
            let number = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
            Some(at + rest.iter().position(|b| !number(b)).unwrap_or(rest.len()))
        }
        _ => None,
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// The high bit of each byte of `word` that equals `byte`.
fn equal(word: u64, byte: u8) -> u64 {
    let x = word ^ (LOW * u64::from(byte));
    !(((x & REST) + REST) | x | REST)
}

/// The high bits of the eight bytes, side by side.
fn gather(bits: u64) -> u64 {
    (bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The offset after the string whose opening quote is at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        let step = match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(chunk) => {
                let word = u64::from_le_bytes(*chunk);
                let bits = equal(word, b'"') | equal(word, b'\\');
                if bits == 0 {
                    at += 8;
                    continue;
                }
                bits.trailing_zeros() as usize / 8
            }
            None => bytes.get(at..)?.iter().position(|b| matches!(b, b'"' | b'\\'))?,
        };
        at += step;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where in a block of 64 bytes the bytes are that matter, one bit each.
struct Marks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

impl Marks {
    fn of(block: &[u8; 64]) -> Marks {
        let mut marks = Marks { quotes: 0, backslashes: 0, opens: 0, closes: 0 };
        let words = block.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).enumerate();
        let mut backslashes = 0;
        for (i, word) in words.clone() {
            // `[` and `{`, `]` and `}` differ in one bit.
            let folded = word | (LOW * 0x20);
            marks.quotes |= gather(equal(word, b'"')) << (8 * i);
            backslashes |= equal(word, b'\\');
            marks.opens |= gather(equal(folded, b'{')) << (8 * i);
            marks.closes |= gather(equal(folded, b'}')) << (8 * i);
        }
        // Rare, so not worth gathering in each block.
        if backslashes != 0 {
            for (i, word) in words {
                marks.backslashes |= gather(equal(word, b'\\')) << (8 * i);
            }
        }
        marks
    }
}

/// The offset after the list or object that begins at `at`, by counting brackets outside strings, 64 bytes at once.
fn skip_container(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let mut depth = 0;
    // All ones inside a string.
    let mut inside = 0_u64;
    // One when a backslash ends the block before.
    let mut carry = 0_u64;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let marks = match rest.first_chunk::<64>() {
            Some(block) => Marks::of(block),
            None => {
                let mut block = [b' '; 64];
                block[..rest.len()].copy_from_slice(rest);
                Marks::of(&block)
            }
        };
        let mut escaped = carry;
        let mut backslashes = marks.backslashes & !carry;
        carry = 0;
        while backslashes != 0 {
            let this = backslashes & backslashes.wrapping_neg();
            escaped |= this << 1;
            carry = this >> 63;
            backslashes &= !(this | this << 1);
        }
        let mut strings = marks.quotes & !escaped;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= inside;
        inside = 0_u64.wrapping_sub(strings >> 63);
        let opens = marks.opens & !strings;
        let closes = marks.closes & !strings;
        if closes.count_ones() < depth {
            depth = depth + opens.count_ones() - closes.count_ones();
        } else {
            let mut both = opens | closes;
            while both != 0 {
                let this = both & both.wrapping_neg();
                if opens & this != 0 {
                    depth += 1;
                } else {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at + this.trailing_zeros() as usize + 1);
                    }
                }
                both &= !this;
            }
        }
        at += 64;
    }
    None
}

/// From a byte of one document to its line and column, built in one pass.
#[derive(Debug)]
pub struct Lines {
    blocks: Vec<Block>,
}

/// What stands before a block of [`Lines::BLOCK`] bytes.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Line ends before it.
    lines: usize,
    /// Characters of its first line before it.
    column: usize,
    /// Where its first line begins.
    line_start: usize,
}

impl Lines {
    const BLOCK: usize = 32 * 1024;

    pub fn new(text: &str) -> Lines {
        let mut before = Block { lines: 0, column: 0, line_start: 0 };
        let mut blocks = Vec::with_capacity(text.len() / Lines::BLOCK + 1);
        blocks.push(before);
        for (i, part) in text.as_bytes().chunks(Lines::BLOCK).enumerate() {
            before = before.after(i * Lines::BLOCK, part);
            blocks.push(before);
        }
        Lines { blocks }
    }

    /// Line and column of the byte at `offset` of `text` (the text it was built from), both from 1, the column in
    /// characters.
    pub fn place(&self, text: &str, offset: usize) -> (usize, usize) {
        let block = self.at(text, offset);
        (block.lines + 1, block.column + 1)
    }

    /// Where the line begins in which the byte at `offset` stands.
    pub fn line_start(&self, text: &str, offset: usize) -> usize {
        self.at(text, offset).line_start
    }

    fn at(&self, text: &str, offset: usize) -> Block {
        let offset = offset.min(text.len());
        let from = offset / Lines::BLOCK * Lines::BLOCK;
        match self.blocks.get(offset / Lines::BLOCK) {
            Some(block) => block.after(from, text.as_bytes().get(from..offset).unwrap_or_default()),
            None => Block { lines: 0, column: 0, line_start: 0 },
        }
    }
}

impl Block {
    /// What stands before the end of `part`, which begins at `from`.
    fn after(self, from: usize, part: &[u8]) -> Block {
        let ends = count(part, |b| b == b'\n');
        if ends == 0 {
            return Block { column: self.column + count(part, starts_char), ..self };
        }
        let last = part.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
        Block { lines: self.lines + ends, column: count(&part[last..], starts_char), line_start: from + last }
    }
}

/// Whether a byte of UTF-8 begins a character.
fn starts_char(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// How many bytes are so; in runs that fit a byte, so that it is done many at once.
fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.chunks(255).map(|run| usize::from(run.iter().map(|&b| u8::from(is(b))).sum::<u8>())).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn at<'t>(text: &'t str, pointer: &str) -> Option<&'t str> {
        span(text, pointer).map(|range| &text[range])
    }

    #[test]
    fn the_examples_of_rfc_6901() {
        let text = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6,
            " ": 7, "m~n": 8}"#;
        assert_eq!(at(text, ""), Some(text));
        assert_eq!(at(text, "/foo"), Some(r#"["bar", "baz"]"#));
        assert_eq!(at(text, "/foo/0"), Some(r#""bar""#));
        for (pointer, value) in
            [("/", "0"), ("/a~1b", "1"), ("/c%d", "2"), ("/i\\j", "5"), ("/k\"l", "6"), ("/ ", "7"), ("/m~0n", "8")]
        {
            assert_eq!(at(text, pointer), Some(value), "{pointer}");
        }
        for pointer in ["foo", "/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/x", "/a~2b", "/a~", "/foo/0/x", "/nope"]
        {
            assert_eq!(at(text, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn keys_with_escapes() {
        let text = r#"{"\u0061b": 1, "\ud83d\ude00": 2, "\ud83d": 3, "t\tn\n": 4, "x": {"y\\": "\\\"}"}}"#;
        assert_eq!(at(text, "/ab"), Some("1"));
        assert_eq!(at(text, "/😀"), Some("2"));
        assert_eq!(at(text, "/t\tn\n"), Some("4"));
        assert_eq!(at(text, "/x/y\\"), Some(r#""\\\"}""#));
    }

    #[test]
    fn the_nearest_parent_that_is_there() {
        let text = r#"{"a": {"b": [1, {"c": 2}]}}"#;
        let of = |pointer| span_or_parent(text, pointer).map(|range| &text[range]);
        assert_eq!(of("/a/b/1/c"), Some("2"));
        assert_eq!(of("/a/b/1/d/e"), Some(r#"{"c": 2}"#));
        assert_eq!(of("/a/b/7"), Some(r#"[1, {"c": 2}]"#));
        assert_eq!(of("/z"), Some(text));
    }

    #[test]
    fn broken_text_is_no_panic() {
        let text = r#"{"a": {"b\"": [1, true, "x\\", {"c": null}]}, "d": "é😀"}"#;
        for end in 0..text.len() {
            let Some(cut) = text.get(..end) else { continue };
            for pointer in ["", "/a", "/a/b\"/3/c", "/a/b\"/9", "/d", "/e"] {
                let _ = span(cut, pointer);
                let _ = span_or_parent(cut, pointer);
            }
            assert_eq!(span(cut, ""), None);
        }
        for broken in ["", " ", "}", "]", "{]", "[,]", "{\"a\"}", "{\"a\" 1}", "{a: 1}", "tru", "\"", "\"\\"] {
            let _ = (span(broken, ""), span(broken, "/a"), span(broken, "/0"), span_or_parent(broken, "/a/0"));
        }
    }

    #[test]
    fn lines_and_columns() {
        let text = "a\r\nüb\n\nlast";
        let lines = Lines::new(text);
        let place = |needle: &str| lines.place(text, text.find(needle).unwrap());
        assert_eq!(place("a"), (1, 1));
        assert_eq!(place("b"), (2, 2));
        assert_eq!(place("last"), (4, 1));
        assert_eq!(lines.place(text, usize::MAX), (4, 5));
        assert_eq!(Lines::new("").place("", 0), (1, 1));
    }

    /// Every pointer of `value` with what it names.
    fn pointers<'v>(value: &'v Value, here: &str, all: &mut Vec<(String, &'v Value)>) {
        all.push((here.to_owned(), value));
        match value {
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    pointers(item, &format!("{here}/{i}"), all);
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    pointers(member, &format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), all);
                }
            }
            _ => {}
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let string = || proptest::string::string_regex("[a-z{}\\[\\]\"\\\\/~:, \\n\\u{1}é😀]{0,70}").unwrap();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            string().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(string(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut all = Vec::new();
            pointers(&value, "", &mut all);
            let mut finder = Finder::new(&text);
            for (pointer, wanted) in all {
                let range = finder.span(&pointer).expect("it is there");
                prop_assert_eq!(span(&text, &pointer), Some(range.clone()));
                let found: Value = serde_json::from_str(&text[range]).unwrap();
                prop_assert_eq!(&found, wanted);
                let missing = format!("{pointer}/no such key");
                prop_assert_eq!(span(&text, &missing), None);
                prop_assert_eq!(finder.span_or_parent(&missing), finder.span(&pointer));
            }
        }

        #[test]
        fn any_text_is_no_panic(text in "[\\[\\]{}\",:\\\\a0 ]{0,200}", pointer in "(/[a0-9]{0,2}){0,4}") {
            let _ = span(&text, &pointer);
            let _ = span_or_parent(&text, &pointer);
        }

        #[test]
        fn places_are_those_of_counting(text in "[aé😀\\n]{0,300}", repeat in 1..400_usize, part in 0.0..1.0_f64) {
            let text = text.repeat(repeat);
            let mut offset = (text.len() as f64 * part) as usize;
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            let before = &text[..offset];
            let start = before.rfind('\n').map_or(0, |p| p + 1);
            let lines = Lines::new(&text);
            let wanted = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
            prop_assert_eq!(lines.place(&text, offset), wanted);
            prop_assert_eq!(lines.line_start(&text, offset), start);
        }
    }

    /// `cargo test --release --no-default-features pointer::tests::speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement, only of use in release"]
    fn speed() {
        let item = serde_json::json!({"NetworkInterfaceId": "eni-0123456789abcdef0", "Status": "in-use", "Groups":
            [{"GroupName": "nodes", "GroupId": "sg-0123456789abcdef0"}], "PrivateIpAddresses": [
            {"Primary": true, "PrivateIpAddress": "10.0.1.7"}, {"Primary": false, "PrivateIpAddress": "10.0.1.8"}]});
        let all: Vec<_> = std::iter::repeat_n(item, 100_000).collect();
        let value = serde_json::json!({ "NetworkInterfaces": all, "Last": 1 });
        for text in [serde_json::to_string_pretty(&value).unwrap(), serde_json::to_string(&value).unwrap()] {
            for pointer in ["/Last", "/NetworkInterfaces/99999/Status"] {
                let start = std::time::Instant::now();
                assert!(span(&text, pointer).is_some());
                let rate = text.len() as f64 / start.elapsed().as_secs_f64() / 1e9;
                println!("{pointer} in {} MB: {rate:.2} GB/s", text.len() / 1_000_000);
            }
            let start = std::time::Instant::now();
            let lines = Lines::new(&text);
            println!("lines: {:.2} GB/s", text.len() as f64 / start.elapsed().as_secs_f64() / 1e9);
            let start = std::time::Instant::now();
            let place = lines.place(&text, text.len() / 2);
            println!("place {place:?}: {:?}", start.elapsed());
        }
    }
}
