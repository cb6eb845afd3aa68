//! Measurements as an SVG picture: how near each is to its limit, and how time grows with d. Sizes differ by colour and marker, so
//! that the figure also reads in black and white.

use super::Measurement;
use crate::figure::{Area, GREY, colour, font, mark};
use plotters::chart::ChartBuilder;
use plotters::element::{PathElement, Text};
use plotters::prelude::{IntoDrawingArea, IntoLogRange, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, ShapeStyle, WHITE};
use std::fmt::Display;

/// Width of a picture, height of its title, of a line of the chart of shares, and of the chart of times.
const WIDTH: u32 = 900;
const HEAD: u32 = 44;
const LINE: u32 = 20;
const TIMES: u32 = 460;
/// Room for names at the left, and for axes and margins.
const NAMES: i32 = 250;
const AXIS: u32 = 46;

/// How near each measurement came to its limit: a line for each thing measured, a mark for each size and device; a hollow one is by the
/// device's own clock.
///
/// # Errors
/// Without measurements, or when the drawing library refuses; in words.
pub fn fractions(title: &str, measured: &[&Measurement]) -> Result<String, String> {
    let names = distinct(measured.iter().map(|m| m.what.clone()));
    let sizes = distinct(measured.iter().map(|m| size(measured, m)));
    let all = || measured.iter().flat_map(|m| [Some(m.fraction), m.device_fraction]).flatten();
    let least = all().fold(1.0, f64::min);
    if names.is_empty() || least <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let (least, most) = (least / 1.15, all().fold(1.0, f64::max) * 1.1);
    let height = LINE * names.len() as u32;
    let top = HEAD + legend_height(&sizes);
    drawn((WIDTH, top + height + AXIS), |root| {
        head(root, title, &sizes)?;
        let x =
            |share: f64| NAMES + ((WIDTH as i32 - NAMES - 30) as f64 * (share / least).ln() / (most / least).ln()).round() as i32;
        let bottom = (top + height) as i32;
        for share in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0].into_iter().filter(|share| (least..=most).contains(share)) {
            let line = ShapeStyle::from(if share == 1.0 { &BLACK } else { &GREY }).stroke_width(if share == 1.0 { 2 } else { 1 });
            root.draw(&PathElement::new([(x(share), top as i32), (x(share), bottom)], line)).map_err(words)?;
            let label = font(12).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(format!("{:.0} %", 100.0 * share), (x(share), bottom + 6), label)).map_err(words)?;
        }
        let label = font(13).pos(Pos::new(HPos::Center, VPos::Top));
        let what = "share of the limit: time of plain reads of the same bytes / time";
        root.draw(&Text::new(what, ((NAMES + WIDTH as i32) / 2, bottom + 24), label)).map_err(words)?;
        for (line, name) in names.iter().enumerate() {
            let y = (top + LINE * line as u32 + LINE / 2) as i32;
            root.draw(&PathElement::new([(NAMES, y), (WIDTH as i32 - 30, y)], GREY)).map_err(words)?;
            let label = font(13).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(name.clone(), (NAMES - 10, y), label)).map_err(words)?;
            for m in measured.iter().filter(|m| m.what == *name) {
                let family = sizes.iter().position(|s| *s == size(measured, m)).unwrap_or(0);
                if let Some(share) = m.device_fraction {
                    mark(root, (x(share), y), family, true).map_err(words)?;
                }
                mark(root, (x(m.fraction), y), family, false).map_err(words)?;
            }
        }
        Ok(())
    })
}

/// Time against d, both on logarithmic scales, a line for each thing measured.
///
/// # Errors
/// As [`fractions`].
pub fn times(title: &str, measured: &[&Measurement]) -> Result<String, String> {
    let devices = distinct(measured.iter().map(|m| m.device.clone())).len();
    let device = |m: &Measurement| if devices > 1 { format!(", {}", m.device) } else { String::new() };
    let name = |m: &Measurement| format!("{}, n = {}{}", m.what, m.n, device(m));
    let names = distinct(measured.iter().map(|m| name(m)));
    let range = |of: fn(&Measurement) -> f64| {
        let each = || measured.iter().map(|m| of(m));
        (each().fold(f64::INFINITY, f64::min), each().fold(0.0, f64::max))
    };
    let ((d0, d1), (t0, t1)) = (range(|m| m.d as f64), range(|m| 1e3 * m.seconds.median));
    if names.is_empty() || t0 <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let top = HEAD + legend_height(&names);
    drawn((WIDTH, top + TIMES), |root| {
        head(root, title, &names)?;
        let (_, body) = root.split_vertically(top);
        let mut chart = ChartBuilder::on(&body)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d((d0 / 1.1..d1 * 1.1).log_scale(), (t0 / 1.3..t1 * 1.3).log_scale())
            .map_err(words)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(GREY)
            .axis_style(BLACK)
            .x_label_formatter(&|d| format!("{d:e}"))
            .y_label_formatter(&|t| format!("{t}"))
            .x_desc("d, coordinates")
            .y_desc("time (ms)")
            .label_style(font(12))
            .axis_desc_style(font(13))
            .draw()
            .map_err(words)?;
        let (plane, corner) = (chart.plotting_area(), body.get_base_pixel());
        let at = |d: f64, t: f64| {
            // `map_coordinate` counts from the picture's corner, a part of it from its own.
            let (x, y) = plane.map_coordinate(&(d, t));
            (x - corner.0, y - corner.1)
        };
        for (family, line) in names.iter().enumerate() {
            let mut points: Vec<(usize, f64)> =
                measured.iter().filter(|m| name(m) == *line).map(|m| (m.d, 1e3 * m.seconds.median)).collect();
            points.sort_by_key(|point| point.0);
            let path: Vec<(i32, i32)> = points.iter().map(|&(d, t)| at(d as f64, t)).collect();
            let style = ShapeStyle::from(&colour(family)).stroke_width(2);
            body.draw(&PathElement::new(path.clone(), style)).map_err(words)?;
            path.into_iter().try_for_each(|point| mark(&body, point, family, family >= 4)).map_err(words)?;
        }
        Ok(())
    })
}

/// The title and, below it, what the marks mean.
fn head(root: &Area, title: &str, entries: &[String]) -> Result<(), String> {
    root.draw(&Text::new(title.to_owned(), (16, 14), font(17))).map_err(words)?;
    let columns = legend_columns(entries);
    for (family, entry) in entries.iter().enumerate() {
        let (column, line) = (family % columns, family / columns);
        let x = 24 + ((WIDTH as usize - 32) / columns * column) as i32;
        let y = HEAD as i32 + LINE as i32 * line as i32;
        mark(root, (x, y), family, family >= 4).map_err(words)?;
        root.draw(&Text::new(entry.clone(), (x + 12, y), font(13).pos(Pos::new(HPos::Left, VPos::Center)))).map_err(words)?;
    }
    Ok(())
}

/// Entries of the legend side by side.
fn legend_columns(entries: &[String]) -> usize {
    let longest = entries.iter().map(|entry| entry.chars().count()).max().unwrap_or(0);
    ((WIDTH as usize - 32) / (7 * longest + 40)).clamp(1, 4)
}

fn legend_height(entries: &[String]) -> u32 {
    LINE * entries.len().div_ceil(legend_columns(entries)) as u32
}

/// What tells a mark from others: as much of n, d and the device as differs.
fn size(all: &[&Measurement], m: &Measurement) -> String {
    let differs = |same: fn(&Measurement, &Measurement) -> bool| all.iter().any(|other| !same(other, m));
    let d = differs(|a, b| a.d == b.d).then(|| format!(", d = {}", m.d));
    let device = differs(|a, b| a.device == b.device).then(|| format!(", {}", m.device));
    [Some(format!("n = {}, f = {}", m.n, m.f)), d, device].into_iter().flatten().collect()
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    items.for_each(|item| {
        if !seen.contains(&item) {
            seen.push(item);
        }
    });
    seen
}

/// A white picture of that size with something on it.
fn drawn(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<(), String>) -> Result<String, String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(words)?;
        draw(&root)?;
        root.present().map_err(words)?;
    }
    Ok(text)
}

fn words(error: impl Display) -> String {
    error.to_string()
}
