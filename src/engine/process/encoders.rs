//! Which encoders work, found out once, each in a host of its own: drivers
//! crash, and what they load stays resident.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use log::{info, warn};
use tokio::sync::OnceCell;

use super::family::FamilyRun;
use super::host::Host;
use crate::config::settings::ENCODERS;
use crate::engine::encoder::{Trial, Trials, choose_for};
use crate::engine::plan::Plan;
use crate::model::failure::Failure;
use crate::wire::Order;
use crate::wire::answer::Elements;
use crate::wire::job::{CheckElements, TryEncoder};

/// Time limit of trying one encoder.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of reading all plugins, on a small board without GStreamer's registry file.
const READ_PLUGINS_TIMEOUT: Duration = Duration::from_secs(60);

/// The encoders of this machine, tried once at the first use.
#[derive(Debug, Default)]
pub(super) struct Encoders(OnceCell<Trials>);

impl Encoders {
    /// The candidates in order of preference, each with its result.
    pub(super) async fn trials(&self) -> &Trials {
        self.0.get_or_init(try_all).await
    }

    /// Chooses the encoder for the stream of `plan` and sends the choice to `run`.
    pub(super) async fn send_choice(&self, run: &FamilyRun, plan: &Plan) {
        let chosen = choose_for(plan.size(), &plan.stream.encoder, self.trials().await);
        let chosen = chosen.map_err(Failure::NoEncoder);
        run.send(Order::Encoder(chosen), Bytes::new()).await;
    }

    /// As [`Encoders::send_choice`], but never returns.
    pub(super) async fn send_choice_and_wait(&self, run: &FamilyRun, plan: &Plan) -> Infallible {
        self.send_choice(run, plan).await;
        std::future::pending().await
    }
}

async fn try_all() -> Trials {
    let Elements { version, missing } = match candidates().await {
        Ok(found) => found,
        Err(failure) => {
            warn!("cannot list the installed encoders: {failure}");
            let why = Trial::Fails(failure.to_string());
            return ENCODERS.into_iter().map(|name| (name, why.clone())).collect();
        }
    };
    let mut trials = Trials::new();
    for name in ENCODERS {
        let trial = match missing.iter().find(|(missing, _)| missing == name) {
            Some((_, package)) => Trial::NotInstalled { package: package.clone() },
            None => Trial::from(try_encoder(name).await),
        };
        trials.push((name, trial));
    }
    let works: Vec<_> =
        trials.iter().filter(|(_, trial)| *trial == Trial::Works).map(|(name, _)| *name).collect();
    info!("{version}; encoders that work here: {}", works.join(", "));
    trials
}

/// Makes GStreamer read all of its plugins and write its registry file for later hosts.
/// Without the file that takes about ten seconds on a small board, which is longer than a
/// pipeline may take to start.
pub async fn read_plugins() {
    if let Err(failure) = candidates().await {
        warn!("cannot read GStreamer's plugins: {failure}");
    }
}

/// The missing candidates; found once, by the host that reads the plugins at the start of
/// the service.
async fn candidates() -> Result<&'static Elements, Failure> {
    static FOUND: OnceCell<Elements> = OnceCell::const_new();
    FOUND.get_or_try_init(check_candidates).await
}

async fn check_candidates() -> Result<Elements, Failure> {
    let job = CheckElements { elements: ENCODERS.map(str::to_owned).to_vec() };
    let (mut host, _input) = Host::start("encoders", job).await?;
    let answer = tokio::time::timeout(READ_PLUGINS_TIMEOUT, host.next()).await;
    host.end().await;
    let (elements, _) = answer.map_err(|_| Failure::Late { after: READ_PLUGINS_TIMEOUT })??;
    Ok(elements)
}

/// Opens the encoder `element` briefly.
async fn try_encoder(element: &str) -> Result<(), Failure> {
    let job = TryEncoder { element: element.to_owned() };
    Host::run(element, job, Vec::new(), TRIAL_TIMEOUT, Failure::Late { after: TRIAL_TIMEOUT })
        .await
        .map(drop)
}
