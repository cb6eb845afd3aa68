//! The look that all figures share: Okabe and Ito's palette, safe for the colour-blind, and a marker of its own for each colour.

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::element::{Circle, PathElement, Polygon};
use plotters::prelude::{DrawingArea, DrawingBackend, SVGBackend};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE};

/// A part of a picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why something could not be drawn.
pub(crate) type Refused<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Blue, vermillion, bluish green, reddish purple, orange, sky blue, black.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Lines of the grid.
pub(crate) const GREY: RGBColor = RGBColor(225, 225, 225);

/// The colour of a family of marks: seven, then again from the first.
pub(crate) fn colour(family: usize) -> RGBColor {
    COLOURS[family % COLOURS.len()]
}

/// Black text.
pub(crate) fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// A circle, triangle, square, diamond, triangle upside down, lying or standing bar by the family, full or hollow, at a pixel of the area.
pub(crate) fn mark<'a>(area: &Area<'a>, (x, y): (i32, i32), family: usize, hollow: bool) -> Result<(), Refused<'a>> {
    let line = ShapeStyle::from(&colour(family)).stroke_width(2);
    let inside = if hollow { WHITE.filled() } else { colour(family).filled() };
    let corners: &[(i32, i32)] = match family % COLOURS.len() {
        0 => &[],
        1 => &[(0, -6), (6, 5), (-6, 5)],
        2 => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
        3 => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
        4 => &[(0, 6), (6, -5), (-6, -5)],
        5 => &[(-6, -3), (6, -3), (6, 3), (-6, 3)],
        _ => &[(-3, -6), (3, -6), (3, 6), (-3, 6)],
    };
    let mut outline: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    if outline.is_empty() {
        area.draw(&Circle::new((x, y), 5, inside))?;
        area.draw(&Circle::new((x, y), 5, line))
    } else {
        area.draw(&Polygon::new(outline.clone(), inside))?;
        outline.extend_from_within(..2);
        area.draw(&PathElement::new(outline, line))
    }
}
