//! Which encoders work, found out once, each in a host of its own: drivers
//! crash, and what they load stays resident.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use log::{info, warn};
use tokio::sync::OnceCell;

use super::family::FamilyRun;
use super::host::Host;
use crate::engine::encoder::{CANDIDATES, Trial, Trials, choose_for};
use crate::engine::plan::Plan;
use crate::model::status::Failure;
use crate::wire::Order;
use crate::wire::answer::Elements;
use crate::wire::job::{CheckElements, TryEncoder};

/// A driver that has not answered after this long does not work.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Reading all plugins takes no longer, on a board without a file of what they are.
const READING: Duration = Duration::from_secs(60);

/// The encoders of this machine, tried once, when the first stream asks.
#[derive(Debug, Default)]
pub struct Encoders(OnceCell<Trials>);

impl Encoders {
    /// The candidates in their order, each with what came of trying it.
    pub async fn trials(&self) -> &Trials {
        self.0.get_or_init(try_all).await
    }

    /// Tells `run` what the stream of `plan` is encoded with, as soon as that is known.
    pub(super) async fn tell(&self, run: &FamilyRun, plan: &Plan) {
        let chosen = choose_for(plan.size(), &plan.stream.encoder, self.trials().await);
        let chosen = chosen.map_err(|error| Failure::Build(error.to_string()));
        run.send(Order::Encoder(chosen), Bytes::new()).await;
    }

    /// As [`Encoders::tell`]; never returns.
    pub(super) async fn keep(&self, run: &FamilyRun, plan: &Plan) -> Infallible {
        self.tell(run, plan).await;
        std::future::pending().await
    }
}

async fn try_all() -> Trials {
    let Elements { version, missing } = match candidates().await {
        Ok(found) => found,
        Err(failure) => {
            warn!("which encoders there are cannot be found out: {failure}");
            let why = Trial::Fails(failure.to_string());
            return CANDIDATES.into_iter().map(|name| (name, why.clone())).collect();
        }
    };
    let mut trials = Trials::new();
    for name in CANDIDATES {
        let trial = match missing.iter().find(|(missing, _)| missing == name) {
            Some((_, package)) => Trial::NotInstalled { package: package.clone() },
            None => try_encoder(name)
                .await
                .map_or_else(|why| Trial::Fails(why.to_string()), |()| Trial::Works),
        };
        trials.push((name, trial));
    }
    let works: Vec<_> =
        trials.iter().filter(|(_, trial)| *trial == Trial::Works).map(|(name, _)| *name).collect();
    info!("{version}; encoders that work here: {}", works.join(", "));
    trials
}

/// Has GStreamer read all of its plugins, and returns when that is done. It keeps
/// what it has found in a file, for all later hosts; without that file a small
/// board needs some ten seconds, which no pipeline is given to start.
pub async fn read_plugins() {
    if let Err(failure) = candidates().await {
        warn!("GStreamer's plugins cannot be read: {failure}");
    }
}

/// Which of the candidates are missing. The host that reads the plugins at the
/// start of the service has the answer already.
async fn candidates() -> Result<&'static Elements, Failure> {
    static FOUND: OnceCell<Elements> = OnceCell::const_new();
    FOUND.get_or_try_init(check_candidates).await
}

async fn check_candidates() -> Result<Elements, Failure> {
    let job = CheckElements { elements: CANDIDATES.map(str::to_owned).to_vec() };
    let (mut host, _input) = Host::start("encoders", job).await?;
    let answer = tokio::time::timeout(READING, host.next()).await;
    host.end().await;
    let (elements, _) = answer.map_err(|_| late())??;
    Ok(elements)
}

/// Opens the encoder `element` for a moment.
async fn try_encoder(element: &str) -> Result<(), Failure> {
    let job = TryEncoder { element: element.to_owned() };
    Host::run(element, job, Vec::new(), TRIAL_TIMEOUT, late()).await.map(drop)
}

fn late() -> Failure {
    Failure::Build("it hangs".to_owned())
}
