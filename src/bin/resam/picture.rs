//! Figures as files: SVG as drawn, or the same as PNG with a font of our own, so that no machine needs one.

use crate::failure::Failure;
use crate::output::{Staged, Target};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::ffi::OsStr;
use std::path::Path;

/// Pixels of a PNG for one of the SVG's.
const SCALE: f32 = 2.0;

/// Most pixels of a PNG.
const MOST_PIXELS: f32 = 50e6;

/// What a figure is written as.
#[derive(Debug, Clone, Copy)]
enum Format {
    Svg,
    Png,
}

/// The files of one figure, found writable.
#[derive(Debug)]
pub(crate) struct Figure(Vec<(Target, Format)>);

impl Figure {
    /// `NAME.svg` or `NAME.png`, or both of them for a name without an extension; not in place of what is read.
    pub(crate) fn new(path: &Path, input: Option<&Path>) -> Result<Self, Failure> {
        let formats: &[Format] = match path.extension().map(OsStr::to_ascii_lowercase) {
            None => &[Format::Svg, Format::Png],
            Some(end) if end == "svg" => &[Format::Svg],
            Some(end) if end == "png" => &[Format::Png],
            Some(_) => return Err(Failure::file(path, "a figure is called NAME.svg or NAME.png, or NAME for both")),
        };
        let file = |&format| {
            let path = match format {
                Format::Svg => path.with_extension("svg"),
                Format::Png => path.with_extension("png"),
            };
            Ok((Target::new(&path, input.as_slice())?, format))
        };
        formats.iter().map(file).collect::<Result<_, _>>().map(Self)
    }

    /// The names of its files.
    #[cfg(feature = "train")]
    pub(crate) fn names(&self) -> String {
        self.0.iter().map(|(target, _)| target.path().display().to_string()).collect::<Vec<_>>().join(" and ")
    }

    /// Writes the picture beside its places.
    pub(crate) fn stage(self, svg: &str) -> Result<Vec<Staged>, Failure> {
        let file = |(target, format): (Target, Format)| match format {
            Format::Svg => target.stage([svg.as_bytes()]),
            Format::Png => target.stage([&png(svg)?[..]]),
        };
        self.0.into_iter().map(file).collect()
    }
}

/// The picture in pixels, as a PNG file; all text in DejaVu Sans.
fn png(svg: &str) -> Result<Vec<u8>, Failure> {
    let failed = |reason: String| Failure::new(format_args!("the figure cannot be made a PNG: {reason}"));
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let drawn = tree.size().width() * tree.size().height();
    // Large ones are drawn smaller, at some 10 bytes a pixel.
    let scale = SCALE.min((MOST_PIXELS / drawn).sqrt());
    let size = tree.size().to_int_size().scale_by(scale).ok_or_else(|| failed("it has no size".into()))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("it is too large".into()))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dark pixels of text alone.
    fn ink(text: &str) -> usize {
        let svg = format!(
            "<svg width=\"60\" height=\"40\" viewBox=\"0 0 60 40\" xmlns=\"http://www.w3.org/2000/svg\">\
             <rect width=\"60\" height=\"40\" fill=\"white\"/><text x=\"10\" y=\"30\" font-family=\"sans-serif\" font-size=\"20\">{text}</text></svg>"
        );
        let pixels = Pixmap::decode_png(&png(&svg).unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (120, 80));
        pixels.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    #[test]
    fn every_letter_of_a_figure_is_in_the_font() {
        assert_eq!(ink(" "), 0);
        // What stands for letters that the font lacks.
        let lacking = ink("\u{4e00}");
        assert_eq!(ink("\u{4e01}"), lacking);
        for letter in "aZ09βν−·±‖×…(%".chars() {
            assert!(ink(&letter.to_string()) > 10 && ink(&letter.to_string()) != lacking, "{letter}");
        }
    }

    #[test]
    fn what_is_no_picture_is_said() {
        assert!(png("<svg").unwrap_err().to_string().contains("PNG"));
        assert!(Figure::new(Path::new("a.jpg"), None).unwrap_err().to_string().contains("NAME.svg"));
    }
}
