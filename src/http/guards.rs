//! Guards that look a request up in the table of paths.

use std::sync::Arc;

use actix_web::dev::{ServiceRequest, Url};
use actix_web::guard::{Guard, GuardContext, fn_guard};
use actix_web::{HttpMessage as _, web};

use super::access;
use super::table::{Endpoint, Subject};
use crate::accounts::{Authenticator, Scope};
use crate::http::state::State;

/// Matches requests whose path is in the current table, and stores endpoint,
/// stream and scope in the request's data.
pub(super) fn is_in_table() -> impl Guard {
    fn_guard(|context| {
        let Some(state) = context.app_data::<web::Data<State>>() else { return false };
        let uri = &context.head().uri;
        let current = state.current();
        let authenticator = &current.topology.authenticator;
        match current.table.find(uri.path(), uri.query()) {
            Some(row) => store(context, row, authenticator),
            // Unreserved characters may be percent-encoded (RFC 3986, section 2.3).
            None if uri.path().contains('%') => {
                let url = Url::new(uri.clone());
                current
                    .table
                    .find(url.path(), uri.query())
                    .is_some_and(|row| store(context, row, authenticator))
            }
            None => false,
        }
    })
}

fn store(
    context: &GuardContext<'_>,
    (endpoint, subject): &(Endpoint, Subject),
    authenticator: &Authenticator,
) -> bool {
    let mut data = context.req_data_mut();
    data.insert(*endpoint);
    let scope = match subject {
        Subject::Box => Scope::Pages,
        Subject::Stream(stream) => {
            data.insert(Arc::clone(stream));
            Scope::Stream(stream.hub().name().clone())
        }
        Subject::Bytes(stream) => {
            data.insert(Arc::clone(stream));
            Scope::Stream(stream.settings().name.clone())
        }
    };
    access::set_scope(&mut data, scope, authenticator);
    true
}

/// Matches requests for `endpoint`, after [`is_in_table`].
pub(super) fn is_for(endpoint: Endpoint) -> impl Guard {
    fn_guard(move |context| context.req_data().get::<Endpoint>() == Some(&endpoint))
}

/// Whether a request that passed [`is_in_table`] is for media of a stream.
pub(super) fn is_for_media(request: &ServiceRequest) -> bool {
    request.extensions().get::<Endpoint>().is_some_and(|endpoint| endpoint.is_media())
}
