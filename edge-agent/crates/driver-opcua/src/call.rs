//! Calls of methods (OPC UA Part 4, 5.12): arguments in the types that the server says the method takes
//! (Part 3, 5.7), the status of the result, and a look at what the machine shows afterwards.

use std::sync::Arc;
use std::time::Duration;

use acquisition::WriteOutcome;
use opcua::types::{
    Argument, BrowsePath, CallMethodResult, DataValue, NodeId, QualifiedName, ReferenceTypeId, RelativePath,
    RelativePathElement, StatusCode, TimestampsToReturn, Variant,
};
use plant_model::Value;
use tokio::time::{Instant, sleep};

use crate::driver::Driver;
use crate::encode::{encode, example};
use crate::error::OpcUaError;
use crate::link::Link;
use crate::write::{CallRequest, Interrupted, SHOWN_WITHIN, WriteRequest, is_refused_whole};
use crate::{subscription, value};

/// How often a machine is looked at while it is to show what was done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Driver {
    pub(crate) async fn call(
        &mut self,
        link: &mut Link,
        request: &CallRequest,
    ) -> Result<WriteOutcome, Interrupted> {
        let node = |reference| subscription::resolve(reference, &self.namespaces);
        let (Some(object), Some(method)) = (node(&request.object), node(&request.method)) else {
            return Ok(WriteOutcome::refused("the server has no such namespace"));
        };
        let arguments = self.arguments(link, &method, &request.arguments).await;
        let arguments = match arguments.map_err(Interrupted::before)? {
            Ok(arguments) => arguments,
            Err(reason) => return Ok(WriteOutcome::Refused { reason }),
        };
        let sent = self.send_call(link, object, method, arguments).await;
        if let Some(reason) = sent.map_err(Interrupted::after)? {
            return Ok(WriteOutcome::Refused { reason });
        }
        match &request.shows {
            Some(shows) => self.await_shown(link, shows).await.map_err(Interrupted::after),
            None => Ok(WriteOutcome::Written),
        }
    }

    /// The arguments in the types of the method, or why they do not fit. Without any the server judges.
    async fn arguments(
        &mut self,
        link: &mut Link,
        method: &NodeId,
        values: &[Value],
    ) -> Result<Result<Vec<Variant>, String>, OpcUaError> {
        if values.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let taken = match self.arguments_node(link, method).await? {
            Ok(node) => self.read_values(link, vec![node.into()]).await?,
            Err(StatusCode::BadNoMatch) => return Ok(Err("the method takes no arguments".to_owned())),
            Err(status) => {
                return Ok(Err(format!("the server does not say what the method takes: {status}")));
            }
        };
        let taken = taken.into_iter().next().and_then(|read| read.value);
        Ok(declared(taken).and_then(|taken| fit(values, &taken)))
    }

    /// The node that says what a method takes.
    async fn arguments_node(
        &mut self,
        link: &mut Link,
        method: &NodeId,
    ) -> Result<Result<NodeId, StatusCode>, OpcUaError> {
        let element = RelativePathElement {
            reference_type_id: ReferenceTypeId::HasProperty.into(),
            is_inverse: false,
            include_subtypes: true,
            target_name: QualifiedName::new(0, "InputArguments"),
        };
        let relative_path = RelativePath { elements: Some(vec![element]) };
        let path = [BrowsePath { starting_node: method.clone(), relative_path }];
        let session = Arc::clone(&link.session);
        let found = session.translate_browse_paths_to_node_ids(&path);
        let found = self.request(link, "say what the method takes", found).await?.into_iter().next();
        let Some(found) = found else { return Ok(Err(StatusCode::BadUnexpectedError)) };
        let target = found.targets.into_iter().flatten().next();
        Ok(match target {
            Some(target) if found.status_code.is_good() => Ok(target.target_id.node_id),
            Some(_) => Err(found.status_code),
            None => Err(StatusCode::BadNoMatch),
        })
    }

    /// Why it was not done, if the server says so.
    async fn send_call(
        &mut self,
        link: &mut Link,
        object: NodeId,
        method: NodeId,
        arguments: Vec<Variant>,
    ) -> Result<Option<String>, OpcUaError> {
        let session = Arc::clone(&link.session);
        let call = session.call(vec![(object, method, Some(arguments)).into()]);
        match self.request(link, "call a method", call).await {
            Ok(results) => Ok(refusal(results.into_iter().next())),
            Err(OpcUaError::Request { cause, .. }) if is_refused_whole(cause.status()) => {
                Ok(Some(because(cause.status())))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks until the tag shows what was done, for at most [`SHOWN_WITHIN`].
    async fn await_shown(
        &mut self,
        link: &mut Link,
        shows: &WriteRequest,
    ) -> Result<WriteOutcome, OpcUaError> {
        let connection = Arc::clone(&self.connection);
        let item = connection.items().get(shows.tag.as_usize());
        let node = item.and_then(|item| subscription::resolve(&item.node, &self.namespaces));
        let (Some(item), Some(node)) = (item, node) else {
            return Ok(WriteOutcome::unknown("the tag that shows it does not exist"));
        };
        let until = Instant::now() + SHOWN_WITHIN;
        loop {
            let read = self.look(link, &node).await?;
            if is_shown(&read, &shows.value) {
                return Ok(WriteOutcome::Written);
            }
            if Instant::now() >= until {
                let read_back = value::sample(read, item.data_type, self.now()).value;
                return Ok(WriteOutcome::Differs { read_back });
            }
        }
    }

    async fn look(&mut self, link: &mut Link, node: &NodeId) -> Result<DataValue, OpcUaError> {
        let (session, nodes) = (Arc::clone(&link.session), [node.clone().into()]);
        let look = async {
            sleep(LOOK_EVERY).await;
            session.read(&nodes, TimestampsToReturn::Source, 0.0).await
        };
        Ok(self.request(link, "read what was called", look).await?.into_iter().next().unwrap_or_default())
    }
}

fn is_shown(read: &DataValue, wanted: &Value) -> bool {
    let Some(held) = &read.value else { return false };
    let is_bad = read.status.is_some_and(|status| status.is_bad());
    !is_bad && encode(wanted, held).is_ok_and(|wanted| wanted == *held)
}

/// What a method says it takes.
fn declared(value: Option<Variant>) -> Result<Vec<Argument>, String> {
    let Some(Variant::Array(array)) = value else {
        return Err("the server does not say what the method takes".to_owned());
    };
    let argument = |value: Variant| {
        let Variant::ExtensionObject(object) = value else { return None };
        object.inner_as::<Argument>().cloned()
    };
    let arguments: Option<Vec<Argument>> = array.values.into_iter().map(argument).collect();
    arguments.ok_or_else(|| "what the server says that the method takes cannot be read".to_owned())
}

fn fit(values: &[Value], taken: &[Argument]) -> Result<Vec<Variant>, String> {
    if values.len() != taken.len() {
        let names: Vec<&str> = taken.iter().map(|argument| argument.name.as_ref()).collect();
        let (given, names) = (values.len(), names.join(", "));
        return Err(format!("the method takes {} arguments ({names}), {given} are configured", taken.len()));
    }
    values.iter().zip(taken).map(|(value, argument)| fit_one(value, argument)).collect()
}

fn fit_one(value: &Value, argument: &Argument) -> Result<Variant, String> {
    let held = example(&argument.data_type);
    if argument.value_rank >= 0 || matches!(held, Variant::Empty) {
        let (name, kind) = (&argument.name, &argument.data_type);
        return Err(format!(
            "the argument {name} is of type {kind}; only single numbers, truth values and texts can be passed"
        ));
    }
    encode(value, &held).map_err(|reason| format!("argument {}: {reason}", argument.name))
}

fn refusal(result: Option<CallMethodResult>) -> Option<String> {
    let Some(result) = result else { return Some(because(StatusCode::BadUnexpectedError)) };
    let at_fault = result.input_argument_results.unwrap_or_default();
    let at_fault = at_fault.iter().position(|status| status.is_bad());
    let at_fault = at_fault.map(|at| format!(" (argument {})", at + 1)).unwrap_or_default();
    result.status_code.is_bad().then(|| format!("{}{at_fault}", because(result.status_code)))
}

fn because(status: StatusCode) -> String {
    let fix = match status {
        StatusCode::BadMethodInvalid => {
            "; the object does not have this method: check object_id and the method's id"
        }
        StatusCode::BadNodeIdUnknown => {
            "; there is no such object or method: check object_id and the method's id"
        }
        StatusCode::BadNotExecutable => "; it cannot be called at present",
        StatusCode::BadUserAccessDenied => "; let the configured user call it, in the server",
        StatusCode::BadArgumentsMissing | StatusCode::BadTooManyArguments => {
            "; configure as many arguments as it takes"
        }
        _ => "",
    };
    format!("the server refuses the call: {status}{fix}")
}
