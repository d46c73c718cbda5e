//! Chooses the encoder of a stream and gives the reason. Pure; `host/probe` tries
//! the encoders.

use crate::base::units::Size;
use crate::config::settings::{ENCODERS, EncoderSetting};
use crate::model::failure::{Failure, NoEncoder};
use crate::model::status::Encoder;

/// The result of trying one encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Trial {
    Works,
    NotInstalled { package: Option<String> },
    Fails(String),
}

impl From<Result<(), Failure>> for Trial {
    fn from(result: Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Trial::Works,
            // The trial names the element.
            Err(Failure::Element { message, .. }) => Trial::Fails(message),
            Err(failure) => Trial::Fails(failure.to_string()),
        }
    }
}

/// The candidates in order of preference, each with its result.
pub type Trials = Vec<(&'static str, Trial)>;

/// The largest width or height that the encoder of a Pi takes (bcm2835-codec), in
/// pixels.
const PI_MAX_SIDE: u32 = 1920;

/// As [`choose`], for pictures of this size: an encoder that does not support it is
/// skipped, which the reason mentions.
///
/// # Errors
/// As [`choose`].
pub fn choose_for(
    size: Size,
    setting: &EncoderSetting,
    trials: &Trials,
) -> Result<Encoder, NoEncoder> {
    let fitting = trials.iter().map(|(name, trial)| {
        let too_large = *name == "v4l2h264enc" && size.width.max(size.height) > PI_MAX_SIDE;
        match trial {
            Trial::Works if too_large => {
                let reason = format!("it takes at most {PI_MAX_SIDE} pixels a side, not {size}");
                (*name, Trial::Fails(reason))
            }
            Trial::Works | Trial::NotInstalled { .. } | Trial::Fails(_) => (*name, trial.clone()),
        }
    });
    choose(setting, &fitting.collect())
}

/// Chooses among the tried encoders.
///
/// # Errors
/// No encoder works, or not the configured one; the error gives each reason.
pub fn choose(setting: &EncoderSetting, trials: &Trials) -> Result<Encoder, NoEncoder> {
    match setting {
        EncoderSetting::Auto => best(trials),
        EncoderSetting::Named(element) => named(element, trials),
    }
}

fn best(trials: &Trials) -> Result<Encoder, NoEncoder> {
    let Some(index) = trials.iter().position(|(_, trial)| *trial == Trial::Works) else {
        return Err(NoEncoder::NoneWorks(reasons(trials)));
    };
    let because =
        if index == 0 { "it is the best one".to_owned() } else { reasons(&trials[..index]) };
    Ok(Encoder { element: trials[index].0.to_owned(), because, is_feed: false })
}

/// Absent encoders in one clause, the others each with the reason.
fn reasons(trials: &[(&str, Trial)]) -> String {
    let (absent, others): (Vec<_>, Vec<_>) =
        trials.iter().partition(|(_, trial)| *trial == Trial::NotInstalled { package: None });
    let absent: Vec<_> = absent.iter().map(|(name, _)| *name).collect();
    let mut clauses: Vec<_> =
        others.iter().map(|(name, trial)| format!("{name} {}", describe(trial))).collect();
    match absent.as_slice() {
        [] => {}
        [one] => clauses.insert(0, format!("this machine has no {one}")),
        [most @ .., last] => {
            clauses.insert(0, format!("this machine has no {} or {last}", most.join(", ")));
        }
    }
    clauses.join(", ")
}

fn named(element: &str, trials: &Trials) -> Result<Encoder, NoEncoder> {
    match trials.iter().find(|(name, _)| *name == element) {
        Some((_, Trial::Works)) => Ok(Encoder {
            element: element.to_owned(),
            because: "the configuration asks for it".to_owned(),
            is_feed: false,
        }),
        Some((_, trial)) => {
            Err(NoEncoder::NotThisOne { element: element.to_owned(), why: describe(trial) })
        }
        None => Err(NoEncoder::NotThisOne {
            element: element.to_owned(),
            why: format!("livebox knows {}", ENCODERS.join(", ")),
        }),
    }
}

fn describe(trial: &Trial) -> String {
    match trial {
        Trial::Works => "works".to_owned(),
        Trial::NotInstalled { package: Some(package) } => {
            format!("is not installed (package {package})")
        }
        Trial::NotInstalled { package: None } => "is not on this machine".to_owned(),
        Trial::Fails(why) => format!("does not work here ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials() -> Trials {
        vec![
            ("v4l2h264enc", Trial::NotInstalled { package: None }),
            ("nvh264enc", Trial::Fails("no card".to_owned())),
            ("x264enc", Trial::Works),
            ("openh264enc", Trial::Works),
        ]
    }

    #[test]
    fn the_first_working_encoder_is_chosen_and_the_reason_names_the_others() {
        let encoder = choose(&EncoderSetting::Auto, &trials()).unwrap();
        assert_eq!(encoder.element, "x264enc");
        assert_eq!(
            encoder.because,
            "this machine has no v4l2h264enc, nvh264enc does not work here (no card)"
        );
    }

    #[test]
    fn a_picture_too_large_for_the_pi_goes_to_the_next_encoder() {
        let pi = vec![("v4l2h264enc", Trial::Works), ("x264enc", Trial::Works)];
        let large = "2304x1296".parse().unwrap();

        let next = choose_for(large, &EncoderSetting::Auto, &pi).unwrap();
        assert_eq!(next.element, "x264enc");
        assert!(next.because.contains("at most 1920 pixels a side, not 2304x1296"), "{next:?}");
        let setting = EncoderSetting::Named("v4l2h264enc".to_owned());
        let refused = choose_for(large, &setting, &pi).unwrap_err().to_string();
        assert!(refused.contains("at most 1920 pixels"), "{refused}");

        let upright = "1080x1920".parse().unwrap();
        assert_eq!(choose_for(upright, &EncoderSetting::Auto, &pi).unwrap().element, "v4l2h264enc");
    }

    #[test]
    fn a_configured_encoder_is_chosen_or_refused_with_the_reason() {
        let choice = |name: &str| choose(&EncoderSetting::Named(name.to_owned()), &trials());
        assert_eq!(choice("openh264enc").unwrap().element, "openh264enc");
        assert_eq!(
            choice("nvh264enc").unwrap_err().to_string(),
            r#"the encoder "nvh264enc" is asked for, but does not work here (no card)"#
        );
        assert!(choice("avenc_h264").unwrap_err().to_string().contains("livebox knows"));
    }

    #[test]
    fn without_a_working_encoder_the_error_gives_every_reason() {
        let error = choose(&EncoderSetting::Auto, &trials()[..2].to_vec()).unwrap_err().to_string();
        assert!(
            error.contains("no card") && error.contains("gstreamer1.0-plugins-ugly"),
            "{error}"
        );
    }
}
