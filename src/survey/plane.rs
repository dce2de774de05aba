//! Points, segments and boxes in the plane of a drawing. The y axis points down.

/// A place on the drawing, in its own units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

impl Point {
    pub(super) fn minus(self, other: Self) -> Self {
        Self { x: self.x - other.x, y: self.y - other.y }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { x: self.x + other.x, y: self.y + other.y }
    }

    pub(super) fn times(self, factor: f64) -> Self {
        Self { x: self.x * factor, y: self.y * factor }
    }

    pub(super) fn length(self) -> f64 {
        self.x.hypot(self.y)
    }

    /// The point at a share of the way to another one.
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        self.plus(other.minus(self).times(share))
    }

    /// The nearest point of a segment, and where on the segment it is, 0 to 1.
    pub(super) fn nearest_on(self, from: Self, to: Self) -> (Self, f64) {
        let way = to.minus(from);
        let square = way.x * way.x + way.y * way.y;
        if square < 1e-9 {
            return (from, 0.0);
        }
        let off = self.minus(from);
        let share = ((off.x * way.x + off.y * way.y) / square).clamp(0.0, 1.0);
        (from.towards(to, share), share)
    }
}

/// An upright box.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    /// Its upper left corner.
    pub from: Point,
    /// Its lower right corner.
    pub to: Point,
}

impl Area {
    /// A box around a point.
    pub(super) fn around(middle: Point, width: f64, height: f64) -> Self {
        let half = Point { x: width / 2.0, y: height / 2.0 };
        Self { from: middle.minus(half), to: middle.plus(half) }
    }

    /// The point in its middle.
    #[must_use]
    pub fn middle(&self) -> Point {
        self.from.towards(self.to, 0.5)
    }

    /// How much of it another one covers.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f64 {
        let width = self.to.x.min(other.to.x) - self.from.x.max(other.from.x);
        let height = self.to.y.min(other.to.y) - self.from.y.max(other.from.y);
        if width > 0.0 && height > 0.0 { width * height } else { 0.0 }
    }

    /// The same box with so much more on each side.
    pub(super) fn grown(&self, by: f64) -> Self {
        let by = Point { x: by, y: by };
        Self { from: self.from.minus(by), to: self.to.plus(by) }
    }

    /// How much of a segment is inside (Liang and Barsky 1984).
    pub(super) fn length_inside(&self, from: Point, to: Point) -> f64 {
        let way = to.minus(from);
        let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
        let sides = [
            (-way.x, from.x - self.from.x),
            (way.x, self.to.x - from.x),
            (-way.y, from.y - self.from.y),
            (way.y, self.to.y - from.y),
        ];
        for (speed, room) in sides {
            if speed.abs() < 1e-12 {
                if room < 0.0 {
                    return 0.0;
                }
                continue;
            }
            let share = room / speed;
            if speed < 0.0 { enters = enters.max(share) } else { leaves = leaves.min(share) }
        }
        if leaves > enters { (leaves - enters) * way.length() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    #[test]
    fn boxes_overlap_by_their_common_part() {
        let one = Area::around(at(0.0, 0.0), 4.0, 2.0);
        assert_eq!(one.overlap(&Area::around(at(3.0, 0.0), 4.0, 2.0)), 2.0);
        assert_eq!(one.overlap(&Area::around(at(4.0, 0.0), 4.0, 2.0)), 0.0);
    }

    #[test]
    fn a_segment_is_cut_by_a_box() {
        let area = Area::around(at(0.0, 0.0), 4.0, 2.0);
        let cases = [(at(-9.0, 0.0), at(9.0, 0.0), 4.0), (at(0.0, 0.0), at(0.0, 9.0), 1.0)];
        for (from, to, inside) in cases {
            assert!((area.length_inside(from, to) - inside).abs() < 1e-9, "{from:?} to {to:?}");
        }
        assert_eq!(area.length_inside(at(-9.0, 2.0), at(9.0, 2.0)), 0.0);
    }

    #[test]
    fn the_nearest_point_is_on_the_segment() {
        let (point, share) = at(1.0, 5.0).nearest_on(at(0.0, 0.0), at(4.0, 0.0));
        assert_eq!((point, share), (at(1.0, 0.0), 0.25));
        assert_eq!(at(9.0, 5.0).nearest_on(at(0.0, 0.0), at(4.0, 0.0)).1, 1.0);
    }
}
