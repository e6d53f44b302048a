//! Reconciliations, and stamps.

use parking_lot::Mutex;
use rustler::{Binary, Encoder as _, Env, NewBinary, Resource, ResourceArc, Term};

use super::code::{self, Purpose};
use super::reference::Held;
use super::target;
use super::term::{self, Decoded};
use super::writes::with_wakeup;
use super::{IndexResource, answer, done, more, nil, routes};
use crate::error::Result;
use crate::index::Index;
use crate::reconcile::Reconciler;
use crate::routes::Target;
use crate::stamp::Pending;
use crate::write::Attempt;

/// A reconciliation under way; none once it is over, whenever the VM frees this.
pub(crate) struct ReconcilerResource {
    index: Held,
    reconciler: Mutex<Option<Reconciler>>,
}

impl ReconcilerResource {
    fn answer<'a>(
        &self,
        env: Env<'a>,
        f: impl FnOnce(&Index, &mut Reconciler) -> Result<Term<'a>>,
    ) -> Term<'a> {
        answer(env, &self.index, |index| match &mut *self.reconciler.lock() {
            Some(reconciler) => f(index, reconciler),
            None => Ok(super::error::invalid_argument(env, "the reconciliation is over")),
        })
    }

    /// Lets go of what it holds, also of ids.
    fn end<'a>(&self, env: Env<'a>) {
        if let Some(reconciler) = self.reconciler.lock().take() {
            reconciler.end(&self.index.index);
        }
        self.index.wake_compactor(env, self.index.encode(env));
    }
}

#[rustler::resource_impl]
impl Resource for ReconcilerResource {}

/// Of the routes of all namespaces, or of the index's own.
#[rustler::nif(schedule = "DirtyCpu")]
fn reconcile_begin<'a>(env: Env<'a>, index: Held, in_namespaces: bool) -> Term<'a> {
    let held = index.clone();
    answer(env, &index, |index| {
        let reconciler = Mutex::new(Some(index.begin_reconciliation(in_namespaces)?));
        Ok(ResourceArc::new(ReconcilerResource { index: held, reconciler }).encode(env))
    })
}

/// For each of `[{name, key, target}]`, whether that route is there.
#[rustler::nif(schedule = "DirtyCpu")]
fn reconcile_name<'a>(env: Env<'a>, resource: &'a ReconcilerResource, named: Term<'a>) -> Term<'a> {
    let what = "the routes are not a list";
    let decoded =
        term::elements(named, what, usize::MAX, |route, _place| route_of(route).map(Some));
    let named = match decoded {
        Ok(named) => named.unwrap_or_default(),
        Err(fault) => return fault,
    };
    resource.answer(env, |index, reconciler| {
        let mut there = Vec::with_capacity(named.len());
        for Named { name, key, target } in &named {
            let target = match target {
                target::Target::Plain(id) => Target::Id(*id),
                target::Target::Term(term) => Target::Term(term),
            };
            there.push(reconciler.name(index, name.as_deref(), key, target)?);
        }
        Ok(there.encode(env))
    })
}

struct Named<'a> {
    name: routes::Name,
    key: &'a [u8],
    target: target::Target,
}

fn route_of<'a>(route: Term<'a>) -> Decoded<'a, Named<'a>> {
    let env = route.get_env();
    let Ok((name, key, target)) = route.decode::<(Term<'a>, Term<'a>, Term<'a>)>() else {
        return Err(super::error::invalid_argument(env, "a route is not {name, key, target}"));
    };
    let purpose = Purpose { lasting: false, most: usize::MAX };
    let encoded = (routes::name(name, purpose)?, target::encode(target, purpose)?);
    match encoded {
        (Some(name), Some(target)) => Ok(Named { name, key: term::bytes(key)?, target }),
        _ => Err(super::error::invalid_argument(env, "a term is too long")),
    }
}

/// Removes what nobody named, a lane at a time; at last how many that were. Then it is over.
#[rustler::nif(schedule = "DirtyIo")]
fn reconcile_step<'a>(
    env: Env<'a>,
    resource: &'a ReconcilerResource,
    durability: Term<'a>,
) -> Term<'a> {
    let durability = match term::durability(durability) {
        Ok(durability) => durability,
        Err(fault) => return fault,
    };
    let mut over = false;
    let step = resource.answer(env, |index, reconciler| {
        over = !reconciler.step(index, durability)?;
        Ok(match over {
            true => (done(), reconciler.removed()).encode(env),
            false => more().encode(env),
        })
    });
    match over {
        true => resource.end(env),
        false => resource.index.wake_compactor(env, resource.index.encode(env)),
    }
    step
}

/// Nothing more is to be done, whatever was not removed.
#[rustler::nif(schedule = "DirtyCpu")]
fn reconcile_end<'a>(env: Env<'a>, resource: &'a ReconcilerResource) -> Term<'a> {
    resource.end(env);
    super::ok_term(env)
}

#[rustler::nif(schedule = "DirtyIo")]
fn put_stamp<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    stamp: Term<'a>,
    durability: Term<'a>,
) -> Term<'a> {
    let decode = |_: &Index| {
        let purpose = Purpose { lasting: true, most: crate::MAX_STAMP_LEN };
        let what = "a stamp's encoding has more than 191 bytes";
        let stamp = target::name(stamp, purpose)?;
        let stamp = stamp.ok_or_else(|| super::error::invalid_argument(env, what))?;
        Ok((stamp, term::durability(durability)?))
    };
    with_wakeup(env, reference, decode, |index, (stamp, durability)| {
        index.put_stamp(&stamp, durability).map(|()| Attempt::Done(super::ok()))
    })
}

/// `nil` if there is none.
#[rustler::nif]
fn stamp<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        let stamp = index.stamp()?.and_then(|stamp| code::decode(env, &stamp));
        Ok(stamp.unwrap_or_else(|| nil().encode(env)))
    })
}

/// A stamp that waits for the changes before it to be flushed, as `{number, bytes}`; `nil` if none
/// does.
#[rustler::nif]
fn stamp_pending<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        Ok(index.pending_stamp().map_or_else(
            || nil().encode(env),
            |pending| {
                let bytes: Term<'a> = NewBinary::from_slice(env, &pending.stamp).into();
                (pending.number, bytes).encode(env)
            },
        ))
    })
}

/// All lanes were flushed since [`stamp_pending`].
#[rustler::nif(schedule = "DirtyIo")]
fn stamp_write<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    number: u64,
    stamp: Binary<'a>,
) -> Term<'a> {
    answer(env, resource, |index| {
        let stamp = stamp.to_vec();
        if stamp.len() > crate::MAX_STAMP_LEN {
            return Ok(super::error::invalid_argument(env, "the stamp is too long"));
        }
        index.write_pending_stamp(&Pending { number, stamp })?;
        Ok(super::ok_term(env))
    })
}
