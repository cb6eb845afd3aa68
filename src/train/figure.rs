//! Test accuracy against step, one panel an attack, as an SVG picture.
//!
//! Curves differ by colour, marker and dash, so the figure also reads in black and white.

use std::fmt::Display;

use plotters::{
    chart::ChartBuilder,
    element::{Cross, DashedPathElement, PathElement, Polygon, Text},
    prelude::{IntoDrawingArea, SVGBackend},
    style::{BLACK, Color, ShapeStyle, WHITE},
};

use super::{Point, TrainError};
use crate::figure::{Area, GREY, colour, font, mark};

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its text in the legend. Panels share the legend: the same label means the same look.
    pub label: String,
    /// Chooses colour and marker: 0 to 6, then again from 0. Use one family for one rule.
    pub family: usize,
    /// Dashed with hollow markers (say, without momentum) instead of solid with full ones.
    pub dashed: bool,
    /// Whether the run broke off before its last step; its end then gets a cross.
    pub broke_off: bool,
    /// The measurements.
    pub points: Vec<Point>,
    /// Standard deviation of the accuracy at each point, drawn as a band around the curve; empty for none.
    pub deviations: Vec<f64>,
}

/// One chart of the figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Its title, such as the attack's.
    pub title: String,
    /// Its curves, drawn in this order.
    pub curves: Vec<Curve>,
}

/// Width and height of a panel in a figure of one, two, or more columns.
const CELLS: [(u32, u32); 3] = [(720, 440), (520, 340), (400, 300)];
const HEADER: u32 = 48;
/// Width and height of an entry in the legend.
const ENTRY: (u32, u32) = (260, 30);
/// Markers on a curve.
const MARKS: usize = 6;

/// The figure as the text of an SVG file: the title, the panels row by row, up to `columns` in a row, and the legend.
///
/// # Errors
/// [`TrainError::Figure`] if there is nothing to draw or the drawing library refuses.
pub fn svg(title: &str, panels: &[Panel], columns: usize) -> Result<String, TrainError> {
    let last = panels.iter().flat_map(|p| &p.curves).filter_map(|c| c.points.last()).map(|p| p.step).max();
    let last = last.ok_or_else(|| TrainError::Figure("no measurements".into()))?;
    let columns = panels.len().min(columns.max(1));
    let cell = CELLS[columns.min(CELLS.len()) - 1];
    let rows = panels.len().div_ceil(columns);
    let (width, height) = (cell.0 * columns as u32, cell.1 * rows as u32);

    let mut entries: Vec<&Curve> = vec![];
    for curve in panels.iter().flat_map(|panel| &panel.curves) {
        if entries.iter().all(|known| known.label != curve.label) {
            entries.push(curve);
        }
    }
    let per_row = (width / ENTRY.0).min(entries.len() as u32);
    let footer = ENTRY.1 * (entries.len() as u32).div_ceil(per_row) + 8;

    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (width, HEADER + height + footer)).into_drawing_area();
        root.fill(&WHITE).map_err(refused)?;
        let (header, below) = root.split_vertically(HEADER);
        header.draw(&Text::new(title.to_owned(), (16, 16), font(19))).map_err(refused)?;
        let (body, legend) = below.split_vertically(height);
        for (cell, panel) in body.split_evenly((rows, columns)).iter().zip(panels) {
            draw_panel(cell, panel, last)?;
        }
        for (index, curve) in entries.into_iter().enumerate() {
            let (column, row) = (index as u32 % per_row, index as u32 / per_row);
            let x = (48 + column * (width - 48) / per_row) as i32;
            let y = (ENTRY.1 / 2 + row * ENTRY.1) as i32;
            draw_curve(&legend, curve, &[(x, y), (x + 56, y)], [(x + 28, y)].iter())?;
            legend.draw(&Text::new(curve.label.clone(), (x + 66, y - 7), font(14))).map_err(refused)?;
        }
        root.present().map_err(refused)?;
    }
    Ok(text)
}

fn draw_panel(cell: &Area, panel: &Panel, last: usize) -> Result<(), TrainError> {
    let mut chart = ChartBuilder::on(cell)
        .caption(&panel.title, font(16))
        .margin(8)
        .margin_right(18)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last.max(1) as f64, 0.0..100.0)
        .map_err(refused)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GREY)
        .axis_style(BLACK)
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc("step")
        .y_desc("test accuracy (%)")
        .label_style(font(12))
        .axis_desc_style(font(13))
        .draw()
        .map_err(refused)?;
    let plane = chart.plotting_area();
    let every = panel.curves.iter().map(|c| c.points.len()).max().unwrap_or(0).div_ceil(MARKS).max(1);
    let mut ends = None;
    for (index, curve) in panel.curves.iter().enumerate() {
        let path: Vec<(i32, i32)> =
            curve.points.iter().map(|p| plane.map_coordinate(&(p.step as f64, p.accuracy * 100.0))).collect();
        // `map_coordinate` counts from the picture's corner, a cell from its own.
        let corner = cell.get_base_pixel();
        let path: Vec<_> = path.iter().map(|(x, y)| (x - corner.0, y - corner.1)).collect();
        for corners in band(curve) {
            let corners = corners.map(|at| plane.map_coordinate(&at)).map(|(x, y)| (x - corner.0, y - corner.1));
            cell.draw(&Polygon::new(corners.to_vec(), colour(curve.family).mix(0.12).filled())).map_err(refused)?;
        }
        // Each curve has its marks at steps of its own, so they do not hide each other.
        let first = every * (2 * index + 1) / (2 * panel.curves.len());
        draw_curve(cell, curve, &path, path.iter().skip(first).step_by(every))?;
        if let Some(&end) = path.last().filter(|_| curve.broke_off) {
            cell.draw(&Cross::new(end, 5, ShapeStyle::from(&BLACK).stroke_width(2))).map_err(refused)?;
            ends = ends.max(Some(end));
        }
    }
    if let Some((x, y)) = ends {
        cell.draw(&Text::new("broke off", (x + 10, y - 6), font(12))).map_err(refused)?;
    }
    Ok(())
}

/// From each point to the next the corners of the band around the curve, as step and per cent.
fn band(curve: &Curve) -> impl Iterator<Item = [(f64, f64); 4]> + '_ {
    let edge = |k: usize, sign: f64| {
        let accuracy = (curve.points[k].accuracy + sign * curve.deviations[k]).clamp(0.0, 1.0);
        (curve.points[k].step as f64, accuracy * 100.0)
    };
    let last = curve.points.len().min(curve.deviations.len());
    (1..last).map(move |k| [edge(k - 1, 1.0), edge(k, 1.0), edge(k, -1.0), edge(k - 1, -1.0)])
}

/// Draws a path in pixels of `cell`, with markers at `marks`.
fn draw_curve<'a>(
    cell: &Area,
    curve: &Curve,
    path: &[(i32, i32)],
    marks: impl Iterator<Item = &'a (i32, i32)>,
) -> Result<(), TrainError> {
    let line = ShapeStyle::from(&colour(curve.family)).stroke_width(2);
    if curve.dashed {
        cell.draw(&DashedPathElement::new(path.iter().copied(), 6, 4, line)).map_err(refused)?;
    } else {
        cell.draw(&PathElement::new(path.to_vec(), line)).map_err(refused)?;
    }
    marks.copied().try_for_each(|at| mark(cell, at, curve.family, curve.dashed)).map_err(refused)
}

fn refused(error: impl Display) -> TrainError {
    TrainError::Figure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(label: &str, family: usize, dashed: bool) -> Curve {
        let points =
            (0..9).map(|i| Point { step: i * 10, accuracy: i as f64 / 10.0, loss: 1.0, lambda: 0.1, spread: 1.0 }).collect();
        Curve { label: label.into(), family, dashed, broke_off: false, points, deviations: vec![0.05; 9] }
    }

    #[test]
    fn says_what_it_shows_and_names_each_curve_once() {
        let panels = ["Sign flip", "ALIE <1.5>"]
            .map(|title| Panel { title: title.into(), curves: vec![curve("Average", 0, true), curve("Median", 1, false)] });
        let text = svg("n = 15, f = 3, β = 0.99", &panels, 3).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for (part, count) in [("β = 0.99", 1), ("Sign flip", 1), ("Average", 1), ("Median", 1), ("test accuracy (%)", 2)] {
            assert_eq!(text.matches(part).count(), count, "{part}");
        }
        assert!(text.contains("ALIE &lt;1.5&gt;"));
        assert!(text.contains("#0072B2") && text.contains("#D55E00"));
        assert_eq!(text, svg("n = 15, f = 3, β = 0.99", &panels, 3).unwrap());
    }

    #[test]
    fn runs_that_broke_off_are_marked_and_said_once() {
        let mut short = curve("Average", 0, false);
        short.points.truncate(3);
        short.broke_off = true;
        let panel = Panel { title: "FOE".into(), curves: vec![short.clone(), short, curve("Median", 1, false)] };
        assert_eq!(svg("", &[panel], 1).unwrap().matches("broke off").count(), 1);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(svg("empty", &[], 3).is_err());
        assert!(svg("empty", &[Panel { title: String::new(), curves: vec![] }], 3).is_err());
    }
}
