/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event suppression of a virtqueue, between vhost and a driver. The driver adds buffers as long
 * as there is room, kicks, and sleeps until there is an interrupt. vhost uses the buffers, one
 * or two at a time, or needs two at once and discards a single one; interrupts; and sleeps until
 * there is a kick. Once it may be stopped, in the midst of this, and started again. What one
 * side wants to hear is said in one of four ways: by a flag or an event index, in a split or a
 * packed ring (-DEVENT_IDX, -DPACKED).
 *
 * VIRTIO_F_IN_ORDER (-DIN_ORDER) does not change how vhost asks for kicks. But one used element
 * returns a batch then, and the driver asks for an interrupt at the end of a batch only, and
 * must not forget an open one when it asks.
 *
 * Liveness: all buffers are used, and the driver gets all of them back.
 * Safety: neither side takes a buffer that is not there.
 *
 * A buffer is one descriptor of a ring of two. The counters of a split ring have 4 bits here,
 * and start at 14; those of a packed ring wrap after two.
 *
 * drivers/vhost/vhost.c: vhost_get_avail_idx, vhost_notify, vhost_split_enable_notify,
 *	vhost_split_disable_notify, vhost_split_add_used_n, vhost_enable_notify,
 *	vhost_disable_notify
 * drivers/vhost/ring_common.h: vhost_ring_notify
 * drivers/vhost/ring_packed.h: vhost_packed_notify, vhost_packed_write_event,
 *	vhost_packed_end, vhost_packed_avail, vhost_packed_enable_notify,
 *	vhost_packed_disable_notify, __vhost_packed_add_used
 * drivers/virtio/virtio_ring.c: virtqueue_kick_prepare_split, virtqueue_kick_prepare_packed,
 *	virtqueue_disable_cb_split, virtqueue_disable_cb_packed,
 *	virtqueue_enable_cb_prepare_split, virtqueue_enable_cb_prepare_packed,
 *	virtqueue_poll_split, virtqueue_poll_packed, is_used_desc_packed, more_used,
 *	vring_interrupt, virtqueue_kick_prepare, virtqueue_disable_cb,
 *	virtqueue_enable_cb_prepare, virtqueue_poll
 * include/uapi/linux/virtio_ring.h: vring_need_event
 * drivers/virtio/vring_compat.h: vring_batch_open
 * drivers/virtio/vring_in_order_split.h: vring_pop_split
 * drivers/virtio/vring_in_order_packed.h: vring_pop_packed
 * Here alone: add, kick, vring_pop, get_buf, get_used, callback, start, fetch, add_used, use,
 *	tell, handle_kick, driver, device
 *
 * Variant SPLIT
 * Variant EVENT_IDX
 * Variant PACKED
 * Variant PACKED,EVENT_IDX
 * Variant IN_ORDER
 * Variant IN_ORDER,EVENT_IDX
 * Variant IN_ORDER,PACKED
 * Variant IN_ORDER,PACKED,EVENT_IDX
 *
 * Mutant KICK_NO_RECHECK deadlock: vhost sleeps without a look after it has asked for a
 *	kick
 * Mutant CALL_NO_RECHECK deadlock: the driver likewise, for an interrupt
 * Mutant KICK_EARLY deadlock: the driver looks whether to kick before it adds the buffer
 * Mutant CALL_EARLY deadlock: vhost looks whether to interrupt before it has used the
 *	buffer
 * Mutant START_NO_LOOK deadlock: vhost waits for a kick when it starts (vsock was so)
 * Mutant LAST_ONLY deadlock EVENT_IDX: an index is compared with the last of a batch alone
 * Mutant NO_WRAP deadlock PACKED,EVENT_IDX: the wrap counter of an event index is ignored
 * Mutant RETELL_DISCARDED livelock PACKED: vhost reports discarded buffers as new ones
 * Mutant BATCH_FORGOTTEN deadlock PACKED,IN_ORDER: the driver forgets an open batch when it
 *	sleeps (Linux 7.3 was so)
 */

#ifndef BUFFERS
#define BUFFERS	4
#endif
#define SIZE	2

#ifdef EVENT_IDX
#define event_idx	true
#else
#define event_idx	false
#endif

/*
 * The ring. A count of buffers stands for an index in all places, and becomes one where the
 * two sides compare it.
 */
byte avail;			/* what the driver has made available */
byte used;			/* what vhost has used */

#ifdef PACKED
#define OFF(count)	((count) & 1)
#define WRAP(count)	(!((count) >> 1 & 1))
/* Each descriptor: its last wrap, as what the two sides have marked it */
byte marked_avail[SIZE];	/* count + 1 */
byte marked_used[SIZE];
byte batch_end[SIZE];
mtype = { ENABLE, DISABLE, DESC };
mtype driver_flags = ENABLE;
byte driver_event;
mtype device_flags = ENABLE;
byte device_event;
#else
#define INDEX(count)	((count) + 14 & 15)
byte avail_idx;
byte used_idx;
bool no_interrupt;
byte used_event = INDEX(0);
bool no_notify;
byte avail_event = INDEX(0);
#endif

bool kicked;			/* eventfd */
bool irq;

/* What has happened */
byte back;			/* buffers that the driver has got back */
bit stops = 1;
bool napi;
bool pairs;			/* vhost needs two buffers at once */

#define finished	(back == BUFFERS)

#ifdef LAST_ONLY
#define vring_need_event(event, new, old, bits)	(((event) & (bits)) == ((new) - 1 & (bits)))
#else
#define vring_need_event(event, new, old, bits)	\
	(((new) - (event) - 1 & (bits)) < ((new) - (old) & (bits)))
#endif

/* The driver */

#ifdef PACKED

#define is_used_desc_packed(count)	(marked_used[OFF(count)] == (count) + 1)
#ifdef IN_ORDER
#define vring_batch_open()	(end != last)
#else
#define vring_batch_open()	false
#endif
#define more_used()		(is_used_desc_packed(last) || vring_batch_open())
#ifdef BATCH_FORGOTTEN
#define virtqueue_poll_packed()	is_used_desc_packed(last)
#else
#define virtqueue_poll_packed()	more_used()
#endif
#define virtqueue_poll()	virtqueue_poll_packed()

inline virtqueue_kick_prepare_packed()
{
	atomic {
		needs_kick = device_flags != DISABLE;
		if
		:: device_flags == DESC ->
#ifdef NO_WRAP
			needs_kick = vring_need_event(OFF(device_event), OFF(avail),
						      OFF(avail) - num_added, 255)
#else
			needs_kick = vring_need_event(OFF(device_event) -
				(WRAP(device_event) == WRAP(avail) -> 0 : SIZE),
				OFF(avail), OFF(avail) - num_added, 255)
#endif
		:: else
		fi
	}
}

inline virtqueue_disable_cb_packed()
{
	if
	:: cb_on ->
		cb_on = false;
		if
		:: !event_triggered -> driver_flags = DISABLE
		:: else
		fi
	:: else
	fi
}

inline virtqueue_enable_cb_prepare_packed()
{
	atomic {
		if
		:: event_idx -> driver_event = last
		:: else
		fi
	}
	atomic {
		if
		:: !cb_on ->
			cb_on = true;
			driver_flags = (event_idx -> DESC : ENABLE)
		:: else
		fi
	}
}

/* One buffer of an open batch */
inline vring_pop_packed()
{
	last++;
	if
	:: !vring_batch_open() && cb_on && driver_flags == DESC -> driver_event = last
	:: else
	fi
}

inline get_used()
{
	got = vring_batch_open();
	if
	:: !got && is_used_desc_packed(last) ->
		got = true;
		end = batch_end[OFF(last)]
	:: else
	fi
}

#define vring_pop()			vring_pop_packed()
#define virtqueue_kick_prepare()	virtqueue_kick_prepare_packed()
#define virtqueue_disable_cb()		virtqueue_disable_cb_packed()
#define virtqueue_enable_cb_prepare()	virtqueue_enable_cb_prepare_packed()

inline add()
{
	marked_avail[OFF(avail - 1)] = avail
}

#else	/* split */

#define vring_batch_open()		false
#define more_used()			(INDEX(last) != INDEX(used_idx))
#define virtqueue_poll_split()		more_used()
#define virtqueue_poll()		virtqueue_poll_split()

inline virtqueue_kick_prepare_split()
{
	atomic {
		if
		:: event_idx ->
			needs_kick = vring_need_event(avail_event, INDEX(avail),
						      INDEX(avail - num_added), 15)
		:: else -> needs_kick = !no_notify
		fi
	}
}

inline virtqueue_disable_cb_split()
{
	if
	:: cb_on ->
		cb_on = false;
		if
		:: !event_triggered && event_idx -> used_event = 0
		:: !event_triggered && !event_idx -> no_interrupt = true
		:: else
		fi
	:: else
	fi
}

inline virtqueue_enable_cb_prepare_split()
{
	atomic {
		if
		:: !cb_on && !event_idx -> no_interrupt = false
		:: else
		fi;
		cb_on = true;
		used_event = INDEX(last)
	}
}

/* Out of order @end is always the next one. */
inline vring_pop_split()
{
	last++;
	if
	:: last == end && cb_on && event_idx -> used_event = INDEX(last)
	:: else
	fi
}

inline get_used()
{
#ifdef IN_ORDER
	if
	:: last == end -> end = used_idx
	:: else
	fi;
	got = last != end
#else
	got = more_used();
	end = last + 1
#endif
}

#define vring_pop()			vring_pop_split()
#define virtqueue_kick_prepare()	virtqueue_kick_prepare_split()
#define virtqueue_disable_cb()		virtqueue_disable_cb_split()
#define virtqueue_enable_cb_prepare()	virtqueue_enable_cb_prepare_split()

inline add()
{
	avail_idx = avail
}

#endif

inline kick()
{
	virtqueue_kick_prepare();
	atomic {
		kicked = kicked || needs_kick;
		num_added = 0
	}
}

inline get_buf()
{
	atomic { get_used() }
	if
	:: got ->
		atomic {
			assert(last < used);
			vring_pop();
			back = last
		}
	:: else
	fi
}

/* Some drivers turn interrupts off meanwhile, and may stop before they have all buffers. */
inline callback()
{
	if
	:: napi ->
		do
		:: atomic { virtqueue_disable_cb() }
			do
			:: get_buf();
				if
				:: !got -> break
				:: got -> break
				:: got
				fi
			od;
			event_triggered = false;
			virtqueue_enable_cb_prepare();
#ifdef CALL_NO_RECHECK
			break
#else
			if
			:: !virtqueue_poll() -> break
			:: else
			fi
#endif
		od
	:: else ->
		do
		:: get_buf();
			if
			:: !got -> break
			:: else
			fi
		od
	fi
}

inline vring_interrupt()
{
	irq = false;
	if
	:: more_used() ->
		event_triggered = event_idx;
		callback()
	:: else
	fi
}

proctype driver()
{
	byte last, end, num_added;
	bool cb_on = true, event_triggered, needs_kick, got;

	do
	:: avail < BUFFERS && avail - last < SIZE ->
#ifdef KICK_EARLY
		atomic {
			avail++;
			num_added++;
			virtqueue_kick_prepare()
		}
		atomic {
			add();
			num_added = 0;
			kicked = kicked || needs_kick
		}
#else
		atomic {
			avail++;
			num_added++;
			add()
		}
		if
		:: avail < BUFFERS && avail - last < SIZE
		:: kick()
		fi
#endif
	:: (avail == BUFFERS || avail - last == SIZE) && num_added -> kick()
	:: irq -> vring_interrupt()
	:: finished -> break
	od
}

/* vhost. It has fetched what is before @next; @seen is what it knows to be available. */

#ifdef PACKED

#define vhost_packed_end()	(next + discarded)
#define vhost_packed_avail()	(marked_avail[OFF(vhost_packed_end())] == vhost_packed_end() + 1)

inline vhost_packed_write_event(count, flags)
{
	device_event = count;
	device_flags = flags
}

inline vhost_packed_notify()
{
	call = driver_flags != DISABLE;
	if
	:: driver_flags == DESC && event_idx && signalled_valid && nr_used < SIZE ->
#ifdef NO_WRAP
		call = vring_need_event(OFF(driver_event), OFF(used), OFF(used) - nr_used, 255)
#else
		call = vring_need_event(OFF(driver_event) -
			(WRAP(driver_event) == WRAP(used) -> 0 : SIZE),
			OFF(used), OFF(used) - nr_used, 255)
#endif
	:: else
	fi;
	signalled_valid = signalled_valid || driver_flags == DESC && event_idx;
	nr_used = 0
}

inline vhost_packed_enable_notify()
{
	atomic {
		notify_off = false;
#ifdef RETELL_DISCARDED
		vhost_packed_write_event(next, (event_idx -> DESC : ENABLE))
#else
		vhost_packed_write_event(vhost_packed_end(), (event_idx -> DESC : ENABLE))
#endif
	}
#ifdef RETELL_DISCARDED
	again = marked_avail[OFF(next)] == next + 1
#else
	again = vhost_packed_avail()
#endif
}

inline vhost_packed_disable_notify()
{
	notify_off = true;
	if
	:: !event_idx -> vhost_packed_write_event(0, DISABLE)
	:: else
	fi
}

/* In order, the first descriptor returns all; else the first one is written last. */
inline __vhost_packed_add_used()
{
#ifndef IN_ORDER
	if
	:: n == 2 ->
		atomic {
			batch_end[OFF(used + 1)] = used + 2;
			marked_used[OFF(used + 1)] = used + 2
		}
	:: else
	fi;
	atomic {
		batch_end[OFF(used)] = used + 1;
		marked_used[OFF(used)] = used + 1;
		used = used + n
	}
#else
	atomic {
		batch_end[OFF(used)] = used + n;
		marked_used[OFF(used)] = used + 1;
		used = used + n
	}
#endif
	nr_used = (nr_used + n > SIZE -> SIZE : nr_used + n)
}

#define add_used()		__vhost_packed_add_used()
#define vhost_ring_notify()	vhost_packed_notify()
#define vhost_enable_notify()	vhost_packed_enable_notify()
#define vhost_disable_notify()	vhost_packed_disable_notify()
#define start()			signalled_valid = false; nr_used = 0; discarded = 0; \
				vhost_packed_write_event(0, (notify_off -> DISABLE : ENABLE))

inline fetch()
{
	got = marked_avail[OFF(next)] == next + 1;
	if
	:: got && discarded -> discarded--
	:: else
	fi
}

#else	/* split */

/* Whether there is something new */
inline vhost_get_avail_idx()
{
	again = INDEX(avail_idx) != INDEX(seen);
	seen = avail_idx
}

inline vhost_notify()
{
	if
	:: event_idx ->
		call = !signalled_valid ||
		       vring_need_event(used_event, INDEX(used), INDEX(signalled), 15);
		signalled = used;
		signalled_valid = true
	:: else -> call = !no_interrupt
	fi
}

inline vhost_split_enable_notify()
{
	atomic {
		notify_off = false;
		if
		:: event_idx -> avail_event = INDEX(seen)
		:: else -> no_notify = false
		fi
	}
	atomic {
		vhost_get_avail_idx()
	}
}

inline vhost_split_disable_notify()
{
	notify_off = true;
	if
	:: !event_idx -> no_notify = true
	:: else
	fi
}

inline vhost_split_add_used_n()
{
	used = used + n;
	used_idx = used
}

#define add_used()		atomic { vhost_split_add_used_n() }
#define vhost_ring_notify()	vhost_notify()
#define vhost_enable_notify()	vhost_split_enable_notify()
#define vhost_disable_notify()	vhost_split_disable_notify()
#define start()			signalled_valid = false; no_notify = notify_off

inline fetch()
{
	if
	:: seen == next -> vhost_get_avail_idx()
	:: else
	fi;
	got = seen != next
}

#endif

/* Returns buffers, and interrupts, unless it does so for the next ones as well. */
inline use()
{
#ifdef CALL_EARLY
	atomic {
		used = used + n;
		vhost_ring_notify();
		used = used - n
	}
	add_used();
#else
	add_used();
#endif
	n = 0;
	owes = true
}

inline tell()
{
#ifndef CALL_EARLY
	atomic { vhost_ring_notify() }
#endif
	owes = false;
	if
	:: call -> irq = true
	:: else
	fi
}

inline handle_kick()
{
	atomic { vhost_disable_notify() }
	do
	:: atomic {
		fetch();
		if
		:: got ->
			assert(next < avail);
			next++;
			n++
		:: else
		fi
	   }
		if
		:: got && n < SIZE
		:: got && n > pairs ->
			use();
			if
			:: tell()
			:: true
			fi
		:: !got ->
			if
			:: n && pairs ->
				atomic {
					next--;
					n = 0;
#ifdef PACKED
					discarded++
#endif
				}
			:: n && !pairs -> use()
			:: else
			fi;
			if
			:: owes -> tell()
			:: else
			fi;
			vhost_enable_notify();
#ifdef KICK_NO_RECHECK
			again = false;
#endif
			if
			:: again ->
				again = false;
				atomic { vhost_disable_notify() }
			:: else -> break
			fi
		fi;
		if
		:: !n && !owes && stops ->
			stops = 0;
			stopped = true;
			break
		:: true
		fi
	od
}

proctype device()
{
	byte next, n;
#ifdef PACKED
	byte nr_used, discarded;
#else
	byte seen, signalled;
#endif
	bool signalled_valid, notify_off, stopped, owes, call, got, again;

	do
	:: kicked ->
		kicked = false;
		if
		:: !stopped -> handle_kick()
		:: else
		fi
	:: stopped ->
		stopped = false;
		atomic { start() }
#ifndef START_NO_LOOK
		handle_kick()
#endif
	:: finished -> break
	od
}

init {
	atomic {
		if
		:: napi = true
		:: napi = false
		fi;
		if
		:: pairs = true
		:: pairs = false
		fi;
		run driver();
		run device()
	}
}
