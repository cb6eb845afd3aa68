//! A table of accuracies as a picture: the darker, the better, and the number in each cell.

use std::fmt::Display;

use plotters::{
    element::{Rectangle, Text},
    prelude::{IntoDrawingArea, SVGBackend},
    style::{
        BLACK, Color, RGBColor, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::TrainError;
use crate::figure::{GREY, font};

/// Width and height of a cell.
const CELL: (i32, i32) = (128, 34);
/// Room for the names of the rows, and for the title and the names of the columns.
const MARGIN: (i32, i32) = (230, 84);
/// The colour of the best value: the palette's blue.
const FULL: (f64, f64, f64) = (0.0, 114.0, 178.0);

/// The table as the text of an SVG file. `values` are accuracies from 0 to 1, a list for each row; `None` leaves a cell empty.
///
/// # Errors
/// [`TrainError::Figure`] if there is nothing to draw, the numbers do not fit the names, or the drawing library refuses.
pub fn svg(title: &str, rows: &[String], columns: &[String], values: &[Vec<Option<f64>>]) -> Result<String, TrainError> {
    if rows.is_empty() || columns.is_empty() || values.len() != rows.len() || values.iter().any(|row| row.len() != columns.len()) {
        return Err(TrainError::Figure(format!("no table of {} × {} values", rows.len(), columns.len())));
    }
    let width = (MARGIN.0 + CELL.0 * columns.len() as i32 + 16).max(12 * title.chars().count() as i32);
    let height = MARGIN.1 + CELL.1 * rows.len() as i32 + 16;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (width as u32, height as u32)).into_drawing_area();
        root.fill(&WHITE).map_err(refused)?;
        root.draw(&Text::new(title.to_owned(), (16, 16), font(19))).map_err(refused)?;
        // The fourth power of the share of the best: the eye tells the good ones apart.
        let best = values.iter().flatten().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let shade = |value: f64| (value / best).clamp(0.0, 1.0).powi(4);
        let middle = font(14).pos(Pos::new(HPos::Center, VPos::Center));
        for (j, column) in columns.iter().enumerate() {
            let x = MARGIN.0 + CELL.0 * j as i32 + CELL.0 / 2;
            root.draw(&Text::new(column.clone(), (x, MARGIN.1 - 14), middle.clone())).map_err(refused)?;
        }
        for (i, (row, values)) in rows.iter().zip(values).enumerate() {
            let y = MARGIN.1 + CELL.1 * i as i32;
            let name = font(14).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(row.clone(), (MARGIN.0 - 12, y + CELL.1 / 2), name)).map_err(refused)?;
            for (j, value) in values.iter().enumerate() {
                let x = MARGIN.0 + CELL.0 * j as i32;
                let shade = shade(value.unwrap_or(0.0));
                let towards = |full: f64| (255.0 + (full - 255.0) * shade) as u8;
                let fill = if value.is_some() { RGBColor(towards(FULL.0), towards(FULL.1), towards(FULL.2)) } else { GREY };
                let corners = [(x, y), (x + CELL.0 - 2, y + CELL.1 - 2)];
                root.draw(&Rectangle::new(corners, fill.filled())).map_err(refused)?;
                if let Some(value) = value {
                    let ink = if shade > 0.65 { WHITE } else { BLACK };
                    let at = (x + CELL.0 / 2, y + CELL.1 / 2);
                    root.draw(&Text::new(format!("{:.1}", 100.0 * value), at, middle.color(&ink))).map_err(refused)?;
                }
            }
        }
        root.present().map_err(refused)?;
    }
    Ok(text)
}

fn refused(error: impl Display) -> TrainError {
    TrainError::Figure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_and_what_does_not_fit_is_an_error() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let (rows, columns) = (names(&["krum", "a<b"]), names(&["β = 0", "β = 0.9"]));
        let text = svg("worst", &rows, &columns, &[vec![Some(0.5), None], vec![Some(1.0), Some(0.123)]]).unwrap();
        for part in ["worst", "krum", "a&lt;b", "β = 0.9", "50.0", "100.0", "12.3"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(svg("", &rows, &columns, &[vec![None, None]]).is_err());
        assert!(svg("", &[], &columns, &[]).is_err());
    }
}
