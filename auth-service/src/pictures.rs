//! Pictures of users. What is uploaded is only ever read as pixels, within bounds, and what is kept and shown is made anew from
//! them: no file of a user's is given to anybody, and nothing that a camera wrote beside the pixels, such as a place, is kept.

pub mod handlers;
pub mod queries;

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

/// The most bytes of a file.
pub const MAX_FILE_BYTES: usize = 5 * 1024 * 1024;
/// Of an uploaded picture, each way.
const MAX_PIXELS: u32 = 6000;
/// What reading one may take: such a picture, in colour.
const MAX_DECODED_BYTES: u64 = 128 * 1024 * 1024;
/// Of what is kept, each way.
const KEPT_PIXELS: u32 = 512;
const JPEG_QUALITY: u8 = 85;

/// A picture as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    pub media_type: &'static str,
    pub content: Vec<u8>,
}

/// Why a file is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("The file is not a JPEG, PNG, WebP or GIF picture.")]
    Unknown,
    #[error("The picture may have at most 6000 pixels each way.")]
    TooLarge,
    #[error("The picture is damaged.")]
    Damaged,
}

/// Makes a picture of what is in a file, whatever the file is called. Takes a while: not for a thread that serves requests.
pub fn make(file: &[u8]) -> Result<Picture, PictureError> {
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|_| PictureError::Unknown)?;
    let known = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
    ];
    if !reader.format().is_some_and(|format| known.contains(&format)) {
        return Err(PictureError::Unknown);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_PIXELS);
    limits.max_image_height = Some(MAX_PIXELS);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(reason_of)?;
    let (width, height) = decoder.dimensions();
    // Not every decoder keeps to the limits by itself.
    if width > MAX_PIXELS || height > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(PictureError::TooLarge);
    }
    let orientation = decoder.orientation().map_err(reason_of)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(reason_of)?;
    if width > KEPT_PIXELS || height > KEPT_PIXELS {
        image = image.thumbnail(KEPT_PIXELS, KEPT_PIXELS);
    }
    image.apply_orientation(orientation);
    encode(&image)
}

fn reason_of(error: image::ImageError) -> PictureError {
    match error {
        image::ImageError::Limits(_) => PictureError::TooLarge,
        _ => PictureError::Damaged,
    }
}

fn encode(image: &DynamicImage) -> Result<Picture, PictureError> {
    let mut content = Vec::new();
    let media_type = match image.color().has_alpha() {
        true => {
            let plain = DynamicImage::ImageRgba8(image.to_rgba8());
            let written = plain.write_to(&mut Cursor::new(&mut content), ImageFormat::Png);
            written.map(|()| "image/png")
        }
        false => {
            let encoder = JpegEncoder::new_with_quality(&mut content, JPEG_QUALITY);
            let written = image.to_rgb8().write_with_encoder(encoder);
            written.map(|()| "image/jpeg")
        }
    };
    Ok(Picture {
        media_type: media_type.map_err(reason_of)?,
        content,
    })
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, RgbaImage};

    use super::*;

    fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Vec::new();
        image.write_to(&mut Cursor::new(&mut file), format).unwrap();
        file
    }

    fn read(picture: &Picture) -> DynamicImage {
        image::load_from_memory(&picture.content).unwrap()
    }

    #[test]
    fn every_format_becomes_a_small_picture_without_anything_else() {
        let opaque = DynamicImage::ImageRgb8(RgbImage::from_pixel(1200, 600, Rgb([200, 10, 10])));
        let glass = DynamicImage::ImageRgba8(RgbaImage::new(300, 1000));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let picture = make(&file(&opaque, format)).unwrap();
            assert_eq!(picture.media_type, "image/jpeg");
            assert_eq!((read(&picture).width(), read(&picture).height()), (512, 256));
        }
        let picture = make(&file(&glass, ImageFormat::Png)).unwrap();
        assert_eq!(picture.media_type, "image/png");
        assert_eq!((read(&picture).width(), read(&picture).height()), (154, 512));
        make(&file(&glass, ImageFormat::Gif)).unwrap();

        // A comment in the file, as cameras write places into it.
        let mut with_comment = file(&opaque, ImageFormat::Jpeg);
        let comment = b"\xff\xfe\x00\x12somewhere at 52N";
        with_comment.splice(2..2, comment.iter().copied());
        let picture = make(&with_comment).unwrap();
        let has = |bytes: &[u8]| bytes.windows(9).any(|part| part == b"somewhere");
        assert!(has(&with_comment) && !has(&picture.content));
    }

    #[test]
    fn a_picture_is_turned_the_way_it_was_held() {
        // An EXIF block of one entry: orientation 6, to be turned by a quarter.
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let image = DynamicImage::ImageRgb8(RgbImage::new(40, 20));
        let mut held = file(&image, ImageFormat::Jpeg);
        held.splice(2..2, exif.iter().copied());
        let picture = make(&held).unwrap();
        assert_eq!((read(&picture).width(), read(&picture).height()), (20, 40));
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused() {
        let whole = file(&DynamicImage::ImageRgb8(RgbImage::new(64, 64)), ImageFormat::Png);
        assert_eq!(make(b""), Err(PictureError::Unknown));
        assert_eq!(make(b"<svg onload='alert(1)'/>"), Err(PictureError::Unknown));
        assert_eq!(make(b"BM\0\0\0\0\0\0\0\0\0\0"), Err(PictureError::Unknown));
        assert_eq!(make(&whole[..whole.len() / 2]), Err(PictureError::Damaged));
        // A few bytes that claim to be 60,000 pixels wide and high.
        let mut bomb = whole;
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        assert!(matches!(
            make(&bomb),
            Err(PictureError::TooLarge | PictureError::Damaged)
        ));
        let wide = DynamicImage::ImageRgb8(RgbImage::new(6001, 1));
        assert_eq!(make(&file(&wide, ImageFormat::Png)), Err(PictureError::TooLarge));
    }
}
