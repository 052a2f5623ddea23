//! Where the objects of the picture stand on paper, and the ways between them.
//!
//! Zones are columns, bands of subnets are rows. Left of each subnet is a gutter and between rows a lane: packets are
//! drawn in these, so that no line crosses a text.

use crate::picture::{Id, Picture};

const MARGIN: i32 = 16;
/// Between chips, and left of a subnet: room for the packets.
const GUTTER: i32 = 48;
const LEAST_BOX: i32 = 202;
/// The VPC's inner width is no less, so that gateways have room.
const LEAST_WIDTH: i32 = 620;
const PAD: i32 = 8;
const CHIP: i32 = 38;
const LANE: i32 = 30;
pub(super) const ROW: i32 = 21;
const TITLE: i32 = 26;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub x: i32,
    pub y: i32,
    pub w: i32,
    pub h: i32,
}

impl Rect {
    pub fn right(self) -> i32 {
        self.x + self.w
    }
    pub fn grown(self, by: i32) -> Rect {
        Rect { x: self.x - by, y: self.y - by, w: self.w + 2 * by, h: self.h + 2 * by }
    }
}

/// Where packets stop at an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The object's left side.
    pub x: i32,
    pub y: i32,
    /// The middle of the gutter beside it.
    pub channel: i32,
    /// Outside is 0, the edge 1, then the rows of subnets.
    floor: usize,
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    pub width: i32,
    pub height: i32,
    pub vpc: Rect,
    pub zones: Vec<Rect>,
    /// By object.
    pub boxes: Vec<Option<Rect>>,
    anchors: Vec<Option<Anchor>>,
    /// The lane above each floor.
    lanes: Vec<i32>,
    /// Where the titles of the last two floors stand.
    pub groups_title: Option<(i32, i32)>,
    pub beside_title: Option<(i32, i32)>,
}

/// What stands in a subnet above its rows.
pub(super) fn head(cidrs: usize, bar: bool) -> i32 {
    26 + 15 * cidrs as i32 + if bar { 10 } else { 0 } + 4
}

impl Layout {
    pub fn new(picture: &Picture) -> Layout {
        let mut layout = Layout {
            boxes: vec![None; picture.objects.len()],
            anchors: vec![None; picture.objects.len()],
            ..Layout::default()
        };
        let columns = picture.zones.len().max(1) as i32;
        let around = columns * (GUTTER + 2 * PAD) + PAD;
        let box_width = LEAST_BOX.max((LEAST_WIDTH - around) / columns);
        let column = GUTTER + box_width + PAD;
        let inner = columns * (column + PAD) - PAD;
        layout.width = inner + 2 * (MARGIN + PAD);

        let left = MARGIN + PAD;
        let mut y = MARGIN;
        layout.lanes.push(y - 6);
        y = layout.chips(picture, &picture.outside, left, y, inner, GUTTER, 0);
        layout.lanes.push(y + LANE / 2 - 2);
        y += LANE;
        let vpc_top = y;
        y += TITLE + 8;
        if !picture.edge.is_empty() {
            y = layout.chips(picture, &picture.edge, left, y, inner, GUTTER, 1);
        }
        layout.lanes.push(y + LANE / 2 - 2);
        y += LANE;
        let zone_top = y;
        y += TITLE;

        // The subnets of a band and zone stand below each other; what stands side by side has one height.
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut base = 0;
        let mut band = None;
        let mut used = vec![0_usize; picture.zones.len()];
        for (i, subnet) in picture.subnets.iter().enumerate() {
            if band != Some(subnet.band) {
                band = Some(subnet.band);
                base = rows.len();
                used.fill(0);
            }
            let row = base + used[subnet.zone];
            used[subnet.zone] += 1;
            if rows.len() <= row {
                rows.resize(row + 1, Vec::new());
            }
            rows[row].push(i);
        }
        for (r, row) in rows.iter().enumerate() {
            if r > 0 {
                layout.lanes.push(y + LANE / 2);
                y += LANE;
            }
            let tops = row.iter().map(|&i| &picture.subnets[i]);
            let top = tops.map(|s| head(s.cidrs.len(), s.addresses.is_some())).max().unwrap_or(0);
            let lines = row.iter().map(|&i| picture.subnets[i].rows.len()).max().unwrap_or(0) as i32;
            let height = top + lines * ROW + 8;
            for &i in row {
                let subnet = &picture.subnets[i];
                let x = left + subnet.zone as i32 * (column + PAD) + GUTTER;
                let frame = Rect { x, y, w: box_width, h: height };
                layout.put(subnet.object, frame, x - GUTTER / 2, 13, r + 2);
                for (k, &line) in subnet.rows.iter().enumerate() {
                    let line_box = Rect { x: x + 5, y: y + top + k as i32 * ROW, w: box_width - 10, h: ROW - 1 };
                    layout.put(line, line_box, x - GUTTER / 2, line_box.h / 2, r + 2);
                }
            }
            y += height;
        }
        y += PAD;
        let zone = |i: i32| Rect { x: left + i * (column + PAD), y: zone_top, w: column, h: y - zone_top };
        layout.zones = (0..picture.zones.len() as i32).map(zone).collect();
        let floor = rows.len() + 2;
        layout.lanes.push(y + 6);
        if !picture.groups.is_empty() {
            y += 20;
            layout.groups_title = Some((left, y));
            y = layout.chips(picture, &picture.groups, left, y + 8, inner, 10, floor);
        }
        y += PAD;
        layout.vpc = Rect { x: MARGIN, y: vpc_top, w: inner + 2 * PAD, h: y - vpc_top };
        layout.lanes.push(y + 6);
        if !picture.beside.is_empty() {
            y += 30;
            layout.beside_title = Some((left, y));
            y = layout.chips(picture, &picture.beside, left, y + 8, inner, 10, floor + 1);
        }
        layout.height = y + MARGIN;
        layout
    }

    fn put(&mut self, id: Id, rect: Rect, channel: i32, down: i32, floor: usize) {
        self.boxes[id] = Some(rect);
        // A line's anchor is at its subnet's side.
        let x = if rect.x - channel > GUTTER / 2 { rect.x - 5 } else { rect.x };
        self.anchors[id] = Some(Anchor { x, y: rect.y + down, channel, floor });
    }

    /// Chips in lines; returns where they end.
    #[allow(clippy::too_many_arguments)]
    fn chips(&mut self, picture: &Picture, ids: &[Id], left: i32, top: i32, width: i32, gap: i32, floor: usize) -> i32 {
        let lead = if gap == GUTTER { GUTTER } else { 0 };
        let (mut x, mut y) = (left + lead, top);
        for &id in ids {
            let object = &picture.objects[id];
            let letters = object.label.chars().count().max(object.detail.chars().count()) as i32;
            let w = (letters * 7 + 44).clamp(104, 236);
            if x + w > left + width && x > left + lead {
                x = left + lead;
                y += CHIP + if gap == GUTTER { 12 } else { 8 };
            }
            self.put(id, Rect { x, y, w, h: CHIP }, x - GUTTER / 2, CHIP / 2, floor);
            x += w + gap;
        }
        y + CHIP
    }

    pub fn anchor(&self, id: Id) -> Option<Anchor> {
        self.anchors.get(id).copied().flatten()
    }

    /// The corners of the way from one object to another, `aside` the middle of gutters and lanes.
    pub fn way(&self, from: Anchor, to: Anchor, aside: i32) -> Vec<(i32, i32)> {
        let (a, b) = (from.channel + aside, to.channel + aside);
        if a == b {
            return vec![(a, from.y), (b, to.y)];
        }
        // The lane above both, or the one below the upper.
        let floor = if from.floor == to.floor { from.floor } else { from.floor.min(to.floor) + 1 };
        let lane = self.lanes.get(floor).copied().unwrap_or(from.y) + aside / 3;
        vec![(a, from.y), (a, lane), (b, lane), (b, to.y)]
    }
}
