//! Controls of cameras: brightness, focus, exposure.
//!
//! Only the camera knows which controls and values exist.

use serde::{Deserialize, Serialize};

/// A control by the name of the driver, with the value as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Of a-z, 0-9 and _.
    pub name: String,
    /// A number, a word of a menu, or yes and no.
    pub value: String,
}

/// Converts the driver's title of a control to its name: "White Balance
/// Temperature, Auto" gives `white_balance_temperature_auto`.
pub fn control_name(title: &str) -> String {
    let mut name = String::new();
    for letter in title.trim().chars().filter(|letter| !",&(.)".contains(*letter)) {
        let letter = if matches!(letter, ' ' | '-') { '_' } else { letter.to_ascii_lowercase() };
        if letter != '_' || !name.ends_with('_') {
            name.push(letter);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_of_a_driver_becomes_the_name_of_a_control() {
        for (title, name) in [
            ("White Balance Temperature, Auto", "white_balance_temperature_auto"),
            ("Exposure (Absolute)", "exposure_absolute"),
            ("Pan & Tilt - Reset", "pan_tilt_reset"),
            ("H264 I-Frame Period", "h264_i_frame_period"),
            ("brightness", "brightness"),
        ] {
            assert_eq!(control_name(title), name);
        }
    }
}
