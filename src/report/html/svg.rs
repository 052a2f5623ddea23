//! The picture of the VPC as SVG: objects, marks of findings, and for each finding what it is about.

use std::fmt::Write;

use super::super::severity_name;
use super::super::text::clean;
use super::super::xml;
use super::layout::{Anchor, Layout, ROW, Rect, head};
use crate::diagnostic::{Diagnostic, Severity};
use crate::network::Verdict;
use crate::picture::{Id, Kind, Mark, Path, Picture, State, Step};

/// Of the objects that suffer, how many are ringed.
const RINGS: usize = 80;
/// How far beside the middle of a gutter the packet is drawn; its answer is on the other side.
const ASIDE: i32 = 11;

/// The drawing, the `number`-th of its page; the findings are those of the report, in its order.
pub(super) fn draw(picture: &Picture, number: usize, findings: &[Diagnostic]) -> String {
    let layout = Layout::new(picture);
    let mut pen = Pen { picture, number, layout: &layout, out: String::new() };
    let (w, h) = (layout.width, layout.height);
    let _ = writeln!(
        pen.out,
        "<svg class=\"map\" id=\"map-{number}\" role=\"group\" aria-label=\"Picture of the VPC of {}\" width=\"{w}\" \
         height=\"{h}\" viewBox=\"0 0 {w} {h}\" xmlns=\"http://www.w3.org/2000/svg\">",
        escape(&picture.cluster)
    );
    if number == 1 {
        pen.out += ICONS;
    }
    pen.out += "<g class=\"base\">\n";
    pen.frames();
    for id in picture.outside.iter().chain(&picture.edge).chain(&picture.groups).chain(&picture.beside) {
        pen.chip(*id);
    }
    for subnet in &picture.subnets {
        pen.subnet(subnet);
    }
    pen.out += "</g>\n<g class=\"marks\">\n";
    pen.marks(findings);
    pen.out += "</g>\n";
    for (i, (finding, mark)) in findings.iter().zip(&picture.marks).enumerate() {
        if *mark != Mark::default() {
            pen.about(i + 1, finding, mark);
        }
    }
    pen.out += "</svg>";
    pen.out
}

struct Pen<'p> {
    picture: &'p Picture,
    number: usize,
    layout: &'p Layout,
    out: String,
}

impl Pen<'_> {
    fn rect(&mut self, class: &str, r: Rect, round: i32) {
        let Rect { x, y, w, h } = r;
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{round}\"/>"
        );
    }

    fn text(&mut self, class: &str, x: i32, y: i32, text: &str) {
        let _ = write!(self.out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(text));
    }

    fn icon(&mut self, kind: Kind, x: i32, y: i32) {
        let _ = write!(self.out, "<use href=\"#i-{}\" x=\"{x}\" y=\"{y}\" width=\"14\" height=\"14\"/>", name(kind));
    }

    fn open(&mut self, id: Id) {
        let object = &self.picture.objects[id];
        let state = match object.state {
            State::Fine => "",
            State::Bad => " bad",
            State::Idle => " idle",
        };
        let _ = write!(
            self.out,
            "<g id=\"o{}-{id}\" class=\"{}{state}\"><title>{}</title>",
            self.number,
            name(object.kind),
            escape_lines(&object.hint)
        );
    }

    fn frames(&mut self) {
        let picture = self.picture;
        if picture.subnets.is_empty() && picture.vpc.is_none() {
            return;
        }
        let frame = self.layout.vpc;
        self.rect("vpc", frame, 10);
        if let Some(id) = picture.vpc {
            let object = &picture.objects[id];
            self.open(id);
            let label = cut(&object.label, 44);
            let x = frame.x + 14;
            self.text("frame-title", x, frame.y + 21, &format!("VPC {label}"));
            let room = (frame.w - 60) / 7;
            let detail = cut(&object.detail, (room as usize).saturating_sub(label.chars().count() + 5).max(12));
            let _ = writeln!(
                self.out,
                "<text class=\"mono muted\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text></g>",
                frame.right() - 14,
                frame.y + 20,
                escape(&detail)
            );
        }
        for (zone, rect) in picture.zones.iter().zip(&self.layout.zones) {
            self.rect("zone", *rect, 8);
            let label = if zone.name.is_empty() { "zone not recorded" } else { &zone.name };
            self.text("zone-title", rect.x + 48, rect.y + 18, label);
            if !zone.id.is_empty() {
                let _ = writeln!(
                    self.out,
                    "<text class=\"mono muted\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                    rect.right() - 9,
                    rect.y + 18,
                    escape(&zone.id)
                );
            }
        }
        if let Some((x, y)) = self.layout.groups_title {
            self.text("zone-title", x, y, "Security groups");
        }
        if let Some((x, y)) = self.layout.beside_title {
            self.text("zone-title", x, y, "Also involved: Kubernetes, IAM, settings");
        }
    }

    fn chip(&mut self, id: Id) {
        let object = &self.picture.objects[id];
        let Some(rect) = self.layout.boxes[id] else { return };
        self.open(id);
        self.rect("chip", rect, 7);
        self.icon(object.kind, rect.x + 9, rect.y + 12);
        let room = ((rect.w - 40) / 7).max(4) as usize;
        let down = if object.detail.is_empty() { 23 } else { 16 };
        self.text("label", rect.x + 30, rect.y + down, &cut(&object.label, room));
        if !object.detail.is_empty() {
            self.text("detail", rect.x + 30, rect.y + 30, &cut(&object.detail, room + 2));
        }
        self.out += "</g>\n";
    }

    fn subnet(&mut self, subnet: &crate::picture::Subnet) {
        let Some(rect) = self.layout.boxes[subnet.object] else { return };
        let object = &self.picture.objects[subnet.object];
        self.open(subnet.object);
        self.rect(&format!("box {}", band_class(subnet)), rect, 7);
        let band = subnet.band.name();
        let pill = band.chars().count() as i32 * 6 + 12;
        let x = rect.x + 10;
        self.text("label", x, rect.y + 18, &cut(&object.label, ((rect.w - pill - 28) / 7) as usize));
        let pill_box = Rect { x: rect.right() - pill - 8, y: rect.y + 7, w: pill, h: 15 };
        self.rect(&format!("pill {}", band_class(subnet)), pill_box, 7);
        let _ = write!(
            self.out,
            "<text class=\"pill-text\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{band}</text>",
            pill_box.x + pill / 2,
            pill_box.y + 11
        );
        for (i, cidr) in subnet.cidrs.iter().enumerate() {
            self.text("mono", x, rect.y + 34 + 15 * i as i32, &cut(cidr, 28));
        }
        if let Some(addresses) = subnet.addresses {
            let used = addresses.usable - addresses.free;
            let wide = rect.w - 20;
            let fill = ((i64::from(wide) * used + addresses.usable - 1) / addresses.usable) as i32;
            let level = match (addresses.free, addresses.prefixes) {
                (0, _) | (_, Some(0)) => "full",
                (free, _) if free * 10 < addresses.usable => "high",
                _ => "",
            };
            let (short, long) = match addresses.prefixes {
                Some(blocks) => (format!("{blocks} free /28s"), format!("{} free, {blocks} /28s", addresses.free)),
                None => {
                    (format!("{} free", addresses.free), format!("{} of {} free", addresses.free, addresses.usable))
                }
            };
            // Beside the range, which is set in wider letters.
            let beside = subnet.cidrs.first().map_or(0, |cidr| cidr.chars().count().min(28)) as i32 * 68 / 10 + 10;
            let fits = long.chars().count() as i32 * 62 / 10 + beside <= wide;
            let free = if fits { long } else { short };
            let _ = write!(
                self.out,
                "<text class=\"detail {level}\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                rect.right() - 10,
                rect.y + 34,
                escape(&free)
            );
            let y = rect.y + head(subnet.cidrs.len(), true) - 12;
            self.rect("bar", Rect { x, y, w: wide, h: 5 }, 2);
            if fill > 0 {
                self.rect(&format!("fill {level}"), Rect { x, y, w: fill, h: 5 }, 2);
            }
        }
        self.out += "</g>\n";
        for &row in &subnet.rows {
            self.row(row);
        }
    }

    fn row(&mut self, id: Id) {
        let object = &self.picture.objects[id];
        let Some(rect) = self.layout.boxes[id] else { return };
        self.open(id);
        self.rect("row", rect, 4);
        self.icon(object.kind, rect.x + 4, rect.y + 3);
        let marked = self.picture.marks.iter().any(|mark| mark.culprits.contains(&id));
        let right = rect.right() - if marked { 24 } else { 6 };
        let detail = cut(&object.detail, 16);
        // What is bad is set in bold.
        let letter = if object.state == State::Bad { 7 } else { 6 };
        let room = (right - rect.x - 23 - detail.chars().count() as i32 * letter - 9) * 10 / 68;
        self.text("label", rect.x + 23, rect.y + 14, &cut(&object.label, room.max(5) as usize));
        if !detail.is_empty() {
            let _ = write!(
                self.out,
                "<text class=\"detail\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                rect.y + 14,
                escape(&detail)
            );
        }
        self.out += "</g>\n";
    }

    /// A mark on each object that has to change, a link to its finding.
    fn marks(&mut self, findings: &[Diagnostic]) {
        let mut by_object: std::collections::BTreeMap<Id, Vec<usize>> = std::collections::BTreeMap::new();
        for (i, mark) in self.picture.marks.iter().enumerate() {
            for &id in &mark.culprits {
                by_object.entry(id).or_default().push(i);
            }
        }
        for (id, about) in by_object {
            let Some(rect) = self.layout.boxes[id] else { continue };
            let Some(first) = about.iter().copied().min_by_key(|&i| (findings[i].severity, i)) else { continue };
            let finding = &findings[first];
            let x = if rect.h < ROW + 4 || self.picture.objects[id].kind == Kind::Subnet {
                rect.right() - 10
            } else {
                rect.right() - 4
            };
            let y = match self.picture.objects[id].kind {
                Kind::Subnet => rect.y,
                _ if rect.h < ROW + 4 => rect.y + rect.h / 2,
                _ => rect.y + 4,
            };
            let word = severity_name(finding.severity);
            let more = if about.len() > 1 { format!(" and {} more", about.len() - 1) } else { String::new() };
            let label = escape(&format!("{word}: {}{more}", finding.rule));
            let sign =
                if about.len() > 1 { about.len().min(99).to_string() } else { sign(finding.severity).to_owned() };
            let _ = writeln!(
                self.out,
                "<a class=\"mark {word}\" href=\"#f{n}\" data-finding=\"{n}\" aria-label=\"{label}\"><title>{label}</title>\
                 <circle cx=\"{x}\" cy=\"{y}\" r=\"9\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{sign}</text></a>",
                y + 4,
                n = first + 1,
            );
        }
    }

    /// What is shown when the finding is chosen.
    fn about(&mut self, n: usize, finding: &Diagnostic, mark: &Mark) {
        let _ = writeln!(
            self.out,
            "<g class=\"about {}\" id=\"path-{n}\"><title>{}</title>",
            severity_name(finding.severity),
            escape(&finding.message)
        );
        let path = mark.path.as_ref();
        let mut shown: Vec<Id> = mark.culprits.clone();
        shown.extend(mark.affected.iter().take(RINGS));
        if let Some(path) = path {
            shown.extend(path.forward.iter().chain(&path.back).filter_map(|step| step.at));
            shown.extend(path.from.into_iter().chain(path.to));
        }
        shown.sort_unstable();
        shown.dedup();
        for id in shown {
            // A subnet drawn again would hide what is in it.
            if !matches!(self.picture.objects[id].kind, Kind::Subnet | Kind::Vpc) {
                let _ = write!(self.out, "<use href=\"#o{}-{id}\"/>", self.number);
            }
        }
        self.out.push('\n');
        for (ids, class) in [(&mark.affected, "ring hit"), (&mark.culprits, "ring culprit")] {
            for &id in ids.iter().take(RINGS) {
                if let Some(rect) = self.layout.boxes[id] {
                    self.rect(class, rect.grown(1), 6);
                } else if Some(id) == self.picture.vpc {
                    self.rect(class, self.layout.vpc, 10);
                }
            }
        }
        if let Some(path) = path {
            self.path(path);
        }
        self.out += "</g>\n";
    }

    fn path(&mut self, path: &Path) {
        let stopped = self.way("forward", path.from, &path.forward, path.to, -ASIDE, 0);
        if !path.back.is_empty() {
            self.way("back", path.to, &path.back, path.from, ASIDE, path.forward.len());
        }
        let _ = stopped;
    }

    /// One direction: the line, then its steps. Whether something stops the packet.
    fn way(
        &mut self,
        class: &str,
        from: Option<Id>,
        steps: &[Step],
        to: Option<Id>,
        aside: i32,
        before: usize,
    ) -> bool {
        let anchor = |id: Option<Id>| self.layout.anchor(id?);
        let mut stops: Vec<Anchor> = Vec::new();
        let mut cut_at = None;
        let push = |at: Option<Anchor>, stops: &mut Vec<Anchor>| {
            if let Some(at) = at
                && stops.last() != Some(&at)
            {
                stops.push(at);
            }
        };
        push(anchor(from), &mut stops);
        for step in steps {
            push(anchor(step.at), &mut stops);
            if step.verdict == Verdict::Blocked && cut_at.is_none() {
                cut_at = Some(stops.len().saturating_sub(1));
            }
        }
        push(anchor(to), &mut stops);
        let ways: Vec<Vec<(i32, i32)>> =
            stops.windows(2).map(|pair| self.layout.way(pair[0], pair[1], aside)).collect();
        let split = cut_at.unwrap_or(ways.len()).min(ways.len());
        for (part, dead) in [(&ways[..split], ""), (&ways[split..], " dead")] {
            let line = curve(part);
            if !line.is_empty() {
                let last = if dead.is_empty() && split < ways.len() { "" } else { " end" };
                let _ = writeln!(
                    self.out,
                    "<path class=\"halo\" d=\"{line}\"/><path class=\"way {class}{dead}{last}\" pathLength=\"100\" d=\"{line}\"/>"
                );
            }
        }
        for (at, name) in [(stops.first(), "start"), (stops.last(), "goal")] {
            if let Some(at) = at {
                let (x, y, end) = (at.channel + aside, at.y, at.x);
                let _ = write!(self.out, "<path class=\"spur {class} {name}\" d=\"M{x} {y}H{end}\"/>");
                if name == "goal" {
                    let dead = if cut_at.is_some() { " dead" } else { "" };
                    let _ = write!(self.out, "<path class=\"tip {class}{dead}\" d=\"M{} {}l-7 -4v8z\"/>", end, y);
                }
            }
        }
        self.out.push('\n');
        // The steps at one place share a dot.
        let mut dots: Vec<(Anchor, Vec<usize>, Verdict)> = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let Some(at) = anchor(step.at) else { continue };
            match dots.iter_mut().find(|(there, _, _)| *there == at) {
                Some((_, numbers, verdict)) => {
                    numbers.push(before + i + 1);
                    *verdict = worse(*verdict, step.verdict);
                }
                None => dots.push((at, vec![before + i + 1], step.verdict)),
            }
        }
        for (at, numbers, verdict) in dots {
            self.dot(class, at, &numbers, verdict, aside);
        }
        cut_at.is_some()
    }

    fn dot(&mut self, class: &str, at: Anchor, numbers: &[usize], verdict: Verdict, aside: i32) {
        let label = span(numbers);
        let (x, y) = (at.channel + aside, at.y);
        let wide = (12 + 5 * label.chars().count() as i32).max(17);
        let verdict = match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Blocked => "blocked",
            Verdict::Unknown => "unknown",
        };
        let _ = write!(self.out, "<g class=\"dot {class} {verdict}\"><path class=\"spur\" d=\"M{x} {y}H{}\"/>", at.x);
        self.rect("", Rect { x: x - wide / 2, y: y - 8, w: wide, h: 17 }, 8);
        let _ = writeln!(self.out, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text></g>", y + 4);
    }
}

fn worse(a: Verdict, b: Verdict) -> Verdict {
    let weight = |verdict| match verdict {
        Verdict::Allowed => 0,
        Verdict::Unknown => 1,
        Verdict::Blocked => 2,
    };
    if weight(b) > weight(a) { b } else { a }
}

/// `3`, `3–4`, `3,6`.
fn span(numbers: &[usize]) -> String {
    match numbers {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] if last - first + 1 == numbers.len() => format!("{first}–{last}"),
        [first, .., last] => format!("{first},{last}"),
    }
}

/// Ways one after the other as a line with round corners.
fn curve(ways: &[Vec<(i32, i32)>]) -> String {
    let mut points: Vec<(i32, i32)> = Vec::new();
    for point in ways.iter().flatten() {
        if points.last() != Some(point) {
            points.push(*point);
        }
    }
    let mut line = String::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        if i == 0 {
            let _ = write!(line, "M{x} {y}");
            continue;
        }
        let Some(&(nx, ny)) = points.get(i + 1) else {
            let _ = write!(line, "L{x} {y}");
            continue;
        };
        let (px, py) = points[i - 1];
        let room = |a: i32, b: i32| (b - a).signum() * 6.min((b - a).abs() / 2);
        let (ax, ay) = (x - room(px, x), y - room(py, y));
        let (bx, by) = (x + room(x, nx), y + room(y, ny));
        let _ = write!(line, "L{ax} {ay}Q{x} {y} {bx} {by}");
    }
    if points.len() < 2 { String::new() } else { line }
}

fn band_class(subnet: &crate::picture::Subnet) -> &'static str {
    use crate::picture::Band;
    match subnet.band {
        Band::Public => "public",
        Band::Private => "private",
        Band::Isolated => "isolated",
        Band::Unknown => "unknown",
    }
}

pub(super) fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "✕",
        Severity::Warning => "!",
        Severity::Info => "i",
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Vpc => "vpc-object",
        Kind::Subnet => "subnet",
        Kind::RouteTable => "table",
        Kind::Acl => "acl",
        Kind::Node => "node",
        Kind::ControlPlane => "plane",
        Kind::CoreDns => "dns",
        Kind::Nat => "nat",
        Kind::Balancer => "lb",
        Kind::Endpoint => "endpoint",
        Kind::Gateway => "gateway",
        Kind::Internet => "internet",
        Kind::Cluster => "cluster",
        Kind::SecurityGroup => "group",
        Kind::Other => "other",
        Kind::More => "more",
    }
}

/// At most `room` characters.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).collect::<String>() + "…"
}

fn escape(text: &str) -> String {
    xml::escape(&clean(text))
}

/// With its line ends, as a tooltip shows them.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// A sign for each kind, 14 by 14.
const ICONS: &str = include_str!("icons.svg");
