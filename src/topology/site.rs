//! Where on earth a relay stands: for pictures, and for costs that nobody measured.

use std::fmt;

use super::read::{Field, Reader, Value};

/// A place on earth. Kept in whole hundred-thousandths of a degree, about a
/// metre, so that equal places are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    latitude: i32,
    longitude: i32,
}

/// Parts of a degree that are kept.
const PARTS: f64 = 100_000.0;
/// The mean radius of the earth in kilometres (IUGG).
const EARTH_KM: f64 = 6_371.008_8;
/// Kilometres that light goes in fibre in a millisecond: two thirds of its speed in empty space.
pub const FIBRE_KM_PER_MS: f64 = 200.0;

impl Site {
    /// The place at these degrees, north and east positive; none when there is
    /// no such place.
    #[must_use]
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_place = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        is_place.then(|| Self {
            latitude: (latitude * PARTS).round() as i32,
            longitude: (longitude * PARTS).round() as i32,
        })
    }

    /// Degrees north of the equator, -90 to 90.
    #[must_use]
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude) / PARTS
    }

    /// Degrees east of Greenwich, -180 to 180.
    #[must_use]
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude) / PARTS
    }

    /// Kilometres along the great circle (haversine).
    #[must_use]
    pub fn km_to(self, other: Self) -> f64 {
        let (from, to) = (self.latitude().to_radians(), other.latitude().to_radians());
        let across = (other.longitude() - self.longitude()).to_radians();
        let half = |angle: f64| (angle / 2.0).sin().powi(2);
        let square = half(to - from) + from.cos() * to.cos() * half(across);
        2.0 * EARTH_KM * square.sqrt().min(1.0).asin()
    }
}

/// As the file writes it: `[48.2, 16.37]`.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.latitude(), self.longitude())
    }
}

/// A place as the file writes it.
pub(super) fn read_site(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<Site> {
    let right = "degrees north and east such as [48.2, 16.4]";
    let Some(parts) = value.get_ref().as_array() else {
        reader.wrong_type(field, value, right, None);
        return None;
    };
    let mut degrees: Vec<f64> = Vec::new();
    for part in parts {
        let whole = part.get_ref().as_integer().filter(|number| number.radix() == 10);
        let whole = whole.map(|number| number.as_str());
        let Some(text) = whole.or_else(|| part.get_ref().as_float().map(|number| number.as_str())) else {
            reader.wrong_type(field, part, right, None);
            return None;
        };
        degrees.extend(text.parse::<f64>().ok());
    }
    let site = <[f64; 2]>::try_from(degrees).ok().and_then(|[north, east]| Site::new(north, east));
    if site.is_none() {
        let why = format!("is no place on earth, must be {right}: -90 to 90, then -180 to 180");
        reader.bad_value(field, value.span().into(), &why, None);
    }
    site
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_great_circle() {
        let at = |latitude, longitude| Site::new(latitude, longitude).unwrap();
        let (paris, tokyo) = (at(48.8566, 2.3522), at(35.6762, 139.6503));
        assert!((paris.km_to(tokyo) - 9_712.0).abs() < 5.0, "{}", paris.km_to(tokyo));
        assert_eq!(paris.km_to(paris), 0.0);
        let (fiji, samoa) = (at(-18.0, 178.0), at(-14.0, -172.0));
        assert!(fiji.km_to(samoa) < 1_200.0, "the short way round: {}", fiji.km_to(samoa));
        let half_round = at(0.0, 0.0).km_to(at(0.0, 180.0));
        assert!((half_round - std::f64::consts::PI * EARTH_KM).abs() < 1e-6);
    }

    #[test]
    fn places_that_are_not_on_earth_are_none() {
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Site::new(latitude, longitude), None);
        }
        assert_eq!(Site::new(48.2, -16.375).unwrap().to_string(), "[48.2, -16.375]");
    }
}
