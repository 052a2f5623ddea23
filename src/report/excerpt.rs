//! The few lines of JSON around a piece of evidence, drawn by miette, whatever the size of the file.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};

use super::place::{Place, Places};
use super::text::{Style, clean, is_unruly, wrap};
use crate::diagnostic::Evidence;

/// Lines of JSON shown of one piece of evidence.
const LINES: usize = 12;
/// Characters from which on a line is not for people: its element is laid out anew.
const LONG_LINE: usize = 500;
/// Columns of an excerpt on a page.
const PAGE: usize = 96;
/// Bytes up to which the object around a single value is laid out with it.
const SMALL: usize = 4096;

/// The drawn excerpt, its lines not indented; nothing when there is no such document.
pub(super) fn draw(
    evidence: &Evidence,
    places: &mut Places<'_>,
    style: &Style,
    mark: owo_colors::Style,
) -> Option<String> {
    let excerpt = Excerpt::new(evidence, places, style)?;
    let mut styles = if style.color { ThemeStyles::ansi() } else { ThemeStyles::none() };
    if style.color {
        styles.highlights = vec![mark];
    }
    if !excerpt.numbered {
        styles.linum = owo_colors::Style::new();
    }
    let characters = if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_links(false)
        .with_width(style.width.max(40))
        .without_syntax_highlighting();
    let mut drawn = String::new();
    handler.render_report(&mut drawn, &excerpt).ok()?;
    // The first line is miette's headline; the finding has its own.
    let (_, drawn) = drawn.split_once('\n')?;
    let lines = drawn.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| if excerpt.numbered { line.trim_end().to_owned() } else { without_number(line) });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// An excerpt for a page: what is marked is a part of its lines.
pub(super) struct Shown {
    pub file: String,
    /// Line and column of the evidence in the file, from 1.
    pub at: (usize, usize),
    pub label: String,
    /// The line's number when the file has it, and its text before the mark, in it and after it.
    pub lines: Vec<(Option<usize>, [String; 3])>,
}

/// The excerpt as lines; nothing when there is no such document.
pub(super) fn shown(evidence: &Evidence, places: &mut Places<'_>) -> Option<Shown> {
    let style = Style { color: false, unicode: true, width: PAGE };
    let excerpt = Excerpt::new(evidence, places, &style)?;
    let mut lines = Vec::new();
    let mut start = 0;
    for (i, line) in excerpt.text.lines().enumerate() {
        let end = start + line.len();
        let from = excerpt.span.start.clamp(start, end) - start;
        let to = excerpt.span.end.clamp(start, end) - start;
        // The blanks before a line are no part of what is marked.
        let blank = line[from..to].len() - line[from..to].trim_start().len();
        let from = from + blank;
        let parts = [&line[..from], &line[from..to], &line[to..]].map(str::to_owned);
        lines.push((excerpt.numbered.then_some(excerpt.first_line + i), parts));
        start = end + 1;
    }
    Some(Shown { file: excerpt.file, at: excerpt.at, label: excerpt.label.replace('\n', " "), lines })
}

/// The line with blanks for its number, which is none of the file's.
fn without_number(line: &str) -> String {
    let number = line.len() - line.trim_start_matches([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).len();
    let (number, rest) = line.split_at(number);
    " ".repeat(number.len()) + rest.trim_end()
}

/// Some lines of a document as a source of their own, with one marked part.
#[derive(Debug)]
struct Excerpt {
    text: String,
    span: Range<usize>,
    label: String,
    file: String,
    /// Line and column of the evidence in the file, from 1.
    at: (usize, usize),
    /// The number of the first line of `text`, from 1.
    first_line: usize,
    /// Whether the lines are those of the file.
    numbered: bool,
}

impl Excerpt {
    fn new(evidence: &Evidence, places: &mut Places<'_>, style: &Style) -> Option<Excerpt> {
        let whole = places.find(evidence)?;
        let at = (whole.line, whole.column);
        let id = identity(evidence, &whole, places);
        let evidence = id.as_ref().unwrap_or(evidence);
        let place = &places.find(evidence)?;
        let mut excerpt = Excerpt {
            text: String::new(),
            span: 0..0,
            label: clean(&evidence.text),
            file: clean(place.file),
            at,
            first_line: place.line,
            numbered: true,
        };
        let room = style.width.saturating_sub(12 + place.line.ilog10() as usize).max(20);
        if is_wide(place, room) {
            excerpt.numbered = false;
            excerpt.first_line = 1;
            let single = !place.text[place.span.clone()].starts_with(['{', '[']);
            let holder = if single { places.holder(evidence) } else { None };
            let around = holder.filter(|holder| holder.len() <= SMALL).unwrap_or_else(|| with_key(place));
            let mark = place.span.start - around.start..place.span.end - around.start;
            let (text, span, whole) = reflow(&place.text[around], &mark, room);
            let start = line_start(&text, span.start);
            excerpt.take(&text, span, start, room, style, whole);
        } else {
            excerpt.take(place.text, place.span.clone(), place.line_start, room, style, true);
        }
        // miette draws the label below the middle of a mark in one line.
        let marked = &excerpt.text[excerpt.span.clone()];
        let middle = if marked.contains('\n') {
            0
        } else {
            let start = line_start(&excerpt.text, excerpt.span.start);
            excerpt.text[start..excerpt.span.start].chars().count() + marked.chars().count() / 2
        };
        let room = style.width.saturating_sub(16 + middle).max(20);
        excerpt.label = wrap(&excerpt.label, room).join("\n");
        Some(excerpt)
    }

    /// Takes the lines around `span`, whose first begins at `line`: at most [`LINES`], without what all are indented
    /// by, no longer than `room`.
    fn take(&mut self, text: &str, span: Range<usize>, line: usize, room: usize, style: &Style, whole: bool) {
        let height = text[span.clone()].split('\n').take(LINES + 2).count();
        let before = if height == 1 { 2 } else { usize::from(height < LINES) };
        let mut from = line;
        for _ in 0..before {
            if from > 0 {
                from = line_start(text, from - 1);
                self.first_line = self.first_line.saturating_sub(1).max(1);
            }
        }
        let above = text[from..line].matches('\n').count();
        let after = if height == 1 { 2 } else { 1 };
        // One line too many is shown rather than spoken of.
        let count = (above + height + after).min(if height == LINES + 1 { height } else { LINES });
        let mut lines = Vec::with_capacity(count);
        let mut start = from;
        for line in text[from..].split('\n').take(count) {
            lines.push((start, line.trim_end_matches('\r')));
            start += line.len() + 1;
        }
        let shown_end = start - 1;
        let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let common = lines.iter().filter(|(_, l)| !l.trim().is_empty()).map(|(_, l)| indent(l)).min().unwrap_or(0);
        let more = if style.unicode { "…" } else { "..." };
        let mut mark = (None, 0);
        for (start, line) in lines {
            let end = start + line.len();
            let line = line.get(common..).unwrap_or_default();
            let visible = match line.char_indices().nth(room) {
                Some(_) => line.char_indices().nth(room.saturating_sub(more.chars().count())).map_or(0, |(i, _)| i),
                None => line.len(),
            };
            let here = self.text.len();
            let map = |offset: usize| here + offset.saturating_sub(start + common).min(visible);
            if (start..=end).contains(&span.start) && mark.0.is_none() {
                mark.0 = Some(map(span.start));
            }
            if start < span.end || span.end == 0 {
                mark.1 = if end < span.end { here + visible } else { map(span.end) };
            }
            // The same number of bytes for each character, since the mark is counted in them.
            self.text.extend(line[..visible].chars().map(harmless));
            if visible < line.len() {
                self.text += more;
            }
            self.text.push('\n');
        }
        let start = mark.0.unwrap_or(0);
        self.span = start..mark.1.max(start);
        if span.end > shown_end {
            let rest = text[shown_end..span.end].bytes().filter(|&b| b == b'\n').count();
            let sep = if self.label.is_empty() { "" } else { " " };
            let rest = if whole { format!("({rest} more lines)") } else { "(and more)".to_owned() };
            self.label += sep;
            self.label += &rest;
        }
    }
}

/// Of an object that is too tall to be shown, its id: its first lines would say nothing.
fn identity(evidence: &Evidence, whole: &Place<'_>, places: &mut Places<'_>) -> Option<Evidence> {
    let text = &whole.text[whole.span.clone()];
    // A line of the file, or one that it becomes when it is laid out anew, mostly ends with a comma.
    let tall = text.bytes().filter(|&b| b == b'\n' || b == b',').take(4 * LINES).count() == 4 * LINES;
    if !text.starts_with('{') || !tall {
        return None;
    }
    let is_index = |token: &&str| token.bytes().all(|b| b.is_ascii_digit());
    let list = evidence.pointer.rsplit('/').find(|token| !is_index(token))?;
    // A name further in, such as a container's, is not what the place is about.
    let named = list == "metadata" || evidence.pointer.matches('/').count() == 1;
    let single = list.strip_suffix('s').unwrap_or(list);
    let keys = [
        "metadata/name".to_owned(),
        format!("{single}Id"),
        format!("{list}Id"),
        format!("{single}Name"),
        "GroupId".to_owned(),
        "name".to_owned(),
    ];
    let keys = keys.into_iter().filter(|key| named || key != "name");
    let pointers = keys.map(|key| format!("{}/{key}", evidence.pointer));
    let id = |pointer| Evidence { document: evidence.document, pointer, text: evidence.text.clone() };
    pointers.map(id).find(|id| places.is_there(id))
}

/// Whether the line of the place is too long to be shown as it is.
fn is_wide(place: &Place<'_>, room: usize) -> bool {
    let line = &place.text[place.line_start..];
    let long = line.bytes().take(4 * LONG_LINE).position(|b| b == b'\n').unwrap_or(line.len().min(4 * LONG_LINE));
    if long > LONG_LINE {
        return true;
    }
    let indent = line.bytes().take_while(|&b| b == b' ').count();
    let text = &place.text[place.span.clone()];
    let marked = text.bytes().take_while(|&b| b != b'\n').take(room / 2).count();
    place.column.saturating_sub(indent + 1) + marked > room
}

/// The span of the place with the key before it, if it is a member.
fn with_key(place: &Place<'_>) -> Range<usize> {
    let before = place.text[..place.span.start].trim_end();
    let key = before.strip_suffix(':').and_then(|before| before.trim_end().strip_suffix('"'));
    let start = key.and_then(|key| {
        let mut start = key.rfind('"')?;
        while key[..start].ends_with('\\') {
            start = key[..start].rfind('"')?;
        }
        Some(start)
    });
    start.unwrap_or(place.span.start)..place.span.end
}

/// Lays out `json` in lines of its own, a few after the begin of `mark`, strings longer than `room` cut; with where
/// `mark` is then and whether that is the end of it.
fn reflow(json: &str, mark: &Range<usize>, room: usize) -> (String, Range<usize>, bool) {
    let mut out = String::new();
    let (mut start, mut end) = (None, None);
    let mut depth = 0_usize;
    let mut line_due = false;
    let mut lines_after = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut length = 0;
    let mut cut = false;
    for (i, c) in json.char_indices() {
        if i == mark.end {
            end = Some(out.len());
        }
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        let empty = !in_string && matches!(c, '}' | ']') && out.ends_with(['{', '[']);
        if !in_string && matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
            line_due = true;
        }
        if line_due && !empty {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
            lines_after += usize::from(start.is_some());
        }
        line_due = false;
        if i == mark.start {
            start = Some(out.len());
        }
        // What is further down is not shown.
        if start.is_some_and(|start| out.len() > start + SMALL) || lines_after > 4 * LINES {
            cut = true;
            break;
        }
        if in_string && length < room {
            length += 1;
            out.push(c);
        } else if !in_string || (c == '"' && !escaped) {
            out.push(c);
        }
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                length = 0;
            }
            '{' | '[' => {
                depth += 1;
                line_due = true;
            }
            ',' => line_due = true,
            ':' => out.push(' '),
            _ => {}
        }
    }
    let start = start.unwrap_or(0);
    let whole = end.is_some() || mark.end == json.len() && !cut;
    let end = end.unwrap_or(out.len());
    (out, start..end, whole)
}

/// Where the line of `offset` begins.
fn line_start(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1)
}

/// What would move the cursor or turn the direction of writing as something of as many bytes that does not.
fn harmless(c: char) -> char {
    match (is_unruly(c), c.len_utf8()) {
        (false, _) => c,
        (true, 1) => ' ',
        (true, 2) => '\u{b7}',
        (true, _) => char::REPLACEMENT_CHARACTER,
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Excerpt {}

impl Diagnostic for Excerpt {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = if self.label.is_empty() { None } else { Some(self.label.clone()) };
        Some(Box::new(std::iter::once(LabeledSpan::new(label, self.span.start, self.span.len()))))
    }
}

impl SourceCode for Excerpt {
    /// All of the excerpt; asked without lines around, the place in the file.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (line, column) = if before + after == 0 { self.at } else { (self.first_line, 1) };
        let shown = if before + after == 0 { *span } else { (0, self.text.len()).into() };
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            self.text.as_bytes(),
            shown,
            line.saturating_sub(1),
            column.saturating_sub(1),
            self.text.lines().count(),
        )))
    }
}
