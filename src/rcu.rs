//! Read-copy-update (McKenney and Slingwine, 1998): readers look at a value while others put a new
//! one in its place. A reader takes no lock and counts no reference per value, it is counted once for
//! all it looks at; what was replaced is dropped when nobody can be looking at it any more.
#![expect(unsafe_code, reason = "a value's life ends with its grace period, which no type tells")]

use std::marker::PhantomData;
use std::sync::Arc;

use crate::grace::{Grace, Padded, Reading, Trace};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The readers of a number of values, and what was replaced under their eyes.
#[derive(Debug)]
pub(crate) struct Readers<T> {
    grace: Grace,
    /// Not beside what readers look at.
    retired: Padded<Mutex<Retired<T>>>,
    /// Some could not be dropped when it was tried.
    left: AtomicBool,
    /// There is something to drop that nobody may be looking at any more.
    wanted: AtomicBool,
    /// So much that who replaces values had better do it.
    overdue: AtomicBool,
    /// Nobody comes to drop anything: who leaves has to.
    closed: AtomicBool,
}

/// With the generation they were replaced in.
type Retired<T> = Vec<(usize, Arc<T>)>;

/// What is replaced while nobody reads is dropped in lots of this many.
const LOT: usize = 64;
/// So many are too many: whoever drops them otherwise does not come.
const HEAP: usize = 8 * LOT;

/// A reader under way. While it is, nothing that is replaced is dropped: it should not stay long.
#[derive(Debug)]
pub(crate) struct Pin<'r, T> {
    readers: &'r Readers<T>,
    /// Until it leaves.
    reading: Option<Reading<'r>>,
}

impl<T> Drop for Pin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        let trace = reading.trace();
        drop(reading);
        // Perhaps for us. It is set before anybody looks whether we are here.
        if self.readers.left.load(Ordering::SeqCst) {
            self.readers.leave(trace);
        }
    }
}

/// Values for readers to look at, each replaced by the next one. What leads to them lies side by side.
#[derive(Debug)]
pub(crate) struct Published<T> {
    /// Of [`Arc::into_raw`]; the references they stand for are this value's.
    current: Box<[AtomicPtr<T>]>,
    readers: Readers<T>,
    owned: PhantomData<Arc<T>>,
}

impl<T> Default for Readers<T> {
    fn default() -> Self {
        Self {
            grace: Grace::default(),
            retired: Padded(Mutex::new(Vec::new())),
            left: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }
}

impl<T> Readers<T> {
    /// Never waits.
    #[inline]
    pub(crate) fn pin(&self) -> Pin<'_, T> {
        Pin { readers: self, reading: Some(self.grace.enter()) }
    }

    /// Drops what was replaced and nobody looks at. The values' destructors run here, so this is for
    /// those who have time and hold no lock that readers want.
    pub(crate) fn reclaim(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        self.overdue.store(false, Ordering::SeqCst);
        let over: Vec<_> = {
            let mut retired = self.retired.0.lock();
            self.left.store(true, Ordering::SeqCst);
            let over = retired.extract_if(.., |(stamp, _)| self.grace.is_over(*stamp)).collect();
            self.left.store(!retired.is_empty(), Ordering::SeqCst);
            over
        };
        drop(over);
    }

    /// Whether somebody should call [`Readers::reclaim`].
    #[inline]
    pub(crate) fn wants_reclaim(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Whether whoever comes by should, as nobody else did.
    #[inline]
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::SeqCst)
    }

    /// Nobody will call [`Readers::reclaim`] any more, but for the readers that are left.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reclaim();
    }

    #[cold]
    fn leave(&self, trace: Trace) {
        if self.closed.load(Ordering::SeqCst) {
            self.reclaim();
        } else if self.grace.was_held_up_by(trace) {
            self.wanted.store(true, Ordering::SeqCst);
        }
    }
}

impl<T> Published<T> {
    pub(crate) fn new(values: impl IntoIterator<Item = Arc<T>>) -> Self {
        let current = |value: Arc<T>| AtomicPtr::new(Arc::into_raw(value).cast_mut());
        let current = values.into_iter().map(current).collect();
        Self { current, readers: Readers::default(), owned: PhantomData }
    }

    /// Those who look at them.
    #[inline]
    pub(crate) fn readers(&self) -> &Readers<T> {
        &self.readers
    }

    /// The present value at a place, for as long as the reader stays.
    ///
    /// # Panics
    /// If there is no such place, or the reader is one of other values.
    #[inline]
    pub(crate) fn get<'p>(&'p self, place: usize, pin: &'p Pin<'_, T>) -> &'p T {
        assert!(std::ptr::eq(pin.readers, &raw const self.readers), "a reader of other values");
        let current = self.current[place].load(Ordering::SeqCst);
        // SAFETY: the pointer is of `Arc::into_raw`, so it is valid for as long as the reference it
        // stands for is there. That is `self`'s, which `'p` keeps from being dropped, until
        // `replace` hands it to `retired` with a stamp. From there only `reclaim` of the same
        // readers (asserted above) takes it, once the grace period of its stamp is over; and it is
        // not over before `pin`, which `'p` keeps too, is gone: everything here is sequentially
        // consistent, so a pin that saw the old pointer had been counted before the swap, in the
        // generation of the stamp or the one before, and `Grace` waits for both. Values are only
        // ever shared, never changed.
        unsafe { &*current }
    }

    /// Puts a new value in the place of the present one, which stays until [`Readers::reclaim`].
    ///
    /// # Panics
    /// If there is no such place.
    pub(crate) fn replace(&self, place: usize, value: Arc<T>) {
        let old = self.current[place].swap(Arc::into_raw(value).cast_mut(), Ordering::SeqCst);
        let stamp = self.readers.grace.stamp();
        // SAFETY: the pointer is of `Arc::into_raw`, and its reference was `self`'s. The swap
        // took it out, so nobody else takes it over.
        let old = unsafe { Arc::from_raw(old) };
        let mut retired = self.readers.retired.0.lock();
        retired.push((stamp, old));
        if retired.len().is_multiple_of(LOT) {
            self.readers.wanted.store(true, Ordering::SeqCst);
        }
        if retired.len().is_multiple_of(HEAP) {
            self.readers.overdue.store(true, Ordering::SeqCst);
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        for current in &self.current {
            let current = current.load(Ordering::SeqCst);
            // SAFETY: as in `replace`; whoever got a reference from `get` borrowed `self`, and is
            // gone.
            drop(unsafe { Arc::from_raw(current) });
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    /// Counts how many of its kind are there.
    struct Counted(usize, Arc<AtomicUsize>);

    impl Counted {
        fn new(value: usize, count: &Arc<AtomicUsize>) -> Arc<Self> {
            count.fetch_add(1, Ordering::SeqCst);
            Arc::new(Self(value, Arc::clone(count)))
        }
    }

    /// The first of them, number 0, alone; and the count.
    fn first() -> (Published<Counted>, Arc<AtomicUsize>) {
        let count = Arc::default();
        (Published::new([Counted::new(0, &count)]), count)
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
            self.0 = usize::MAX;
        }
    }

    #[test]
    fn what_is_looked_at_stays_until_the_reader_is_gone() {
        let (cell, count) = first();
        let readers = cell.readers();
        let pin = readers.pin();
        let seen = cell.get(0, &pin);
        cell.replace(0, Counted::new(2, &count));
        readers.reclaim();
        assert_eq!((seen.0, cell.get(0, &pin).0), (0, 2));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        drop(pin);
        readers.reclaim();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        // Nobody looks: at once.
        cell.replace(0, Counted::new(3, &count));
        readers.reclaim();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(cell);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn who_leaves_tells_of_what_it_held_up() {
        let (cell, count) = first();
        let readers = cell.readers();
        let pin = readers.pin();
        cell.replace(0, Counted::new(1, &count));
        readers.reclaim();
        assert!(!readers.wants_reclaim());
        drop(pin);
        assert!(readers.wants_reclaim());
        readers.reclaim();
        assert_eq!((readers.wants_reclaim(), count.load(Ordering::SeqCst)), (false, 1));
        // Without a reader, in lots.
        (1..LOT).for_each(|value| cell.replace(0, Counted::new(value, &count)));
        assert!(!readers.wants_reclaim());
        cell.replace(0, Counted::new(LOT, &count));
        assert!(readers.wants_reclaim());
        // Nobody came.
        (LOT + 1..HEAP).for_each(|value| cell.replace(0, Counted::new(value, &count)));
        assert!(!readers.is_overdue());
        cell.replace(0, Counted::new(HEAP, &count));
        assert!(readers.is_overdue());
        readers.reclaim();
        assert_eq!((readers.is_overdue(), count.load(Ordering::SeqCst)), (false, 1));
        // Who came later than what is left tells nobody.
        let long = readers.pin();
        cell.replace(0, Counted::new(0, &count));
        readers.reclaim();
        for _ in 0..10 {
            drop(readers.pin());
            assert!(!readers.wants_reclaim());
        }
        drop(long);
        assert!(readers.wants_reclaim());
        readers.reclaim();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        // Who leaves last drops what is left.
        let (first, last) = (readers.pin(), readers.pin());
        cell.replace(0, Counted::new(0, &count));
        readers.close();
        assert!(count.load(Ordering::SeqCst) > 1);
        drop(first);
        drop(last);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn places_are_apart_and_what_is_left_goes_with_them() {
        let count = Arc::default();
        let cells = Published::new((0..3).map(|value| Counted::new(value, &count)));
        cells.replace(1, Counted::new(7, &count));
        let pin = cells.readers().pin();
        assert_eq!([0, 1, 2].map(|place| cells.get(place, &pin).0), [0, 7, 2]);
        drop(pin);
        assert_eq!(count.load(Ordering::SeqCst), 4);
        drop(cells);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    #[should_panic(expected = "a reader of other values")]
    fn a_pin_of_other_readers_is_refused() {
        let [cell, other] = [1, 2].map(|value| Published::new([Arc::new(value)]));
        cell.get(0, &other.readers().pin());
    }

    #[test]
    fn threads_never_see_what_is_gone() {
        let (cell, count) = first();
        let readers = cell.readers();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::SeqCst) {
                        let pin = readers.pin();
                        let seen = cell.get(0, &pin);
                        assert!(seen.0 >= last && seen.0 != usize::MAX);
                        std::thread::yield_now();
                        assert!(seen.0 >= last && seen.0 != usize::MAX);
                        last = seen.0;
                    }
                });
            }
            for value in 1..if cfg!(miri) { 50 } else { 5_000 } {
                cell.replace(0, Counted::new(value, &count));
                readers.reclaim();
                if value % 16 == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        readers.reclaim();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
