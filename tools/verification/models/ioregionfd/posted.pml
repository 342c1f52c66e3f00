/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring of posted writes. A vCPU fills it, waits for space, and posts a command in the end.
 * Two device tasks fetch and retire what is there, in the mapping, where they poll and take
 * several writes at a time, or by ioctl, where they sleep. Who polls may do so for a while, and
 * then sleep (-DWINDOW). IOREGIONFD_RECOVER comes at any moment; before it, the first task may
 * die at any point. It may also stop, in the midst of what there is to do.
 *
 * Safety:
 * - Each fetch gets the oldest write that is not retired, and what the vCPU wrote.
 * - No write is delivered twice, unless the second time has IOREGIONFD_CMD_F_REDELIVERED.
 * - Only who holds a write retires it, and none that has not been delivered.
 * - The command is fetched after the writes before it have been retired.
 * Liveness: the vCPU gets space, and all writes are delivered.
 *
 * Indices count modulo 8, and wrap.
 *
 * virt/kvm/ioregionfd/native.h: ring_used
 * virt/kvm/ioregionfd/mailbox.c: ring_full, ring_push, ring_has_space, mailbox_post,
 *	mailbox_req_run, native_wake_vcpus
 * virt/kvm/ioregionfd/fetch.c: mailbox_has_predecessors, fetch_mailboxes, fetch_posted, fetch,
 *	fetch_requeue, fetch_sleep, unblock, retire_posted, complete_cmd, fetch_commit, wake_fetcher,
 *	wake_all_fetchers, wake_for_pending, wake_next_fetcher
 * virt/kvm/ioregionfd/file.c: ring_recovered, ring_flag_redelivered, recover_ring, file_recover
 * tools/lib/ioregionfd/channel.c: look_at_mailbox, look_at_posted, look, look_for, poll_mapping,
 *	leave_to_others, sleep_for_command, ioregionfd_channel_run
 * The kernel: spin_lock, spin_unlock
 * Here alone: ring_ready, mailbox_remaining, delivered_to, retired_by, sleeps, vcpu, task,
 *	recoverer
 *
 * Variant WRITES=3,STOPS=false
 * Variant POSTED_BATCH=1
 * Variant MAPPED1=true,MAPPED2=true
 * Variant WINDOW,WRITES=1
 * Variant WRITES=1,RECOVERS=2
 * Variant MAPPED1=false,MAPPED2=false
 * Variant MAPPED1=false,MAPPED2=true
 * Variant MAPPED1=false,MAPPED2=false,WRITES=1,FAULTS=1
 * Variant MAPPED1=true,MAPPED2=false,WRITES=1,FAULTS=1
 * Livelock MAPPED1=false,MAPPED2=false,WRITES=1,FAULTS=1
 * Livelock MAPPED1=true,MAPPED2=false,WRITES=1,FAULTS=1
 * Livelock MAPPED1=true,MAPPED2=true,WRITES=1
 * Livelock WINDOW,WRITES=1
 *
 * Mutant RETIRE_BY_INDEX assertion: RECOVER leaves posted_tail as it is (was so
 *	once)
 * Mutant RECOVER_STORES assertion: RECOVER stores posted_tail without an exchange
 * Mutant FLAG_ONE assertion: RECOVER flags the oldest write alone
 * Mutant FLAG_LATE assertion: RECOVER flags what can be fetched already
 * Mutant KERNEL_HEAD_FIRST assertion: kvm.ko itself is told of a write before the
 *	mapping is (was so once)
 * Mutant USED_UNBOUNDED assertion: a fetch believes that there are more writes
 *	than the ring holds
 * Mutant HEAD_BEFORE_TAIL assertion MAPPED2=true: a task loads posted_head before
 *	posted_tail (was so once)
 * Mutant COPY_UNCHECKED assertion WRITES=3: a task that has lost its writes goes on to copy
 * Mutant NO_PREDECESSORS assertion: a command overtakes posted writes
 * Mutant RETIRE_SILENTLY deadlock WRITES=3,STOPS=false: who retires in the mapping does not look at blocked
 * Mutant SPACE_LOOK_FIRST deadlock WRITES=3: the vCPU looks for space before it sets blocked
 * Mutant FETCH_UNBLOCKED deadlock MAPPED1=false: who finds a write fetched does
 *	not set blocked
 * Mutant PASS_ON_UNBLOCKED deadlock MAPPED1=false: who was woken for what comes after
 *	the write that it has got does not set blocked
 * Mutant RECOVER_NO_WAKE deadlock WRITES=1: RECOVER does not wake the other task
 * Mutant LEAVES_SILENTLY deadlock WRITES=1: the first task sets polling after RECOVER has cleared
 *	it, fetches before RECOVER comes to the ring, loses that, and ends. What is posted before
 *	it does so has woken nobody (was so once)
 */

/* Of the model: the ring, and what the vCPU does: some writes, then a command */
#define NR_POSTED	2
#ifndef POSTED_BATCH
#define POSTED_BATCH	NR_POSTED
#endif
#ifndef WRITES
#define WRITES		2
#endif
#ifndef FAULTS
#define FAULTS		0
#endif
#ifndef RECOVERS
#define RECOVERS	1
#endif
#ifndef MAPPED1
#define MAPPED1		true
#endif
#ifndef MAPPED2
#define MAPPED2		false
#endif
#define FIRST		6

/* posted_tail */
#define FETCHED		1
#define RECOVERED	16
#define RECOVERIES	240		/* the bits that it adds to */
#define MASK		7
#define INDEX(tail)	((tail) >> 1 & MASK)

/* struct ioregionfd_control. An entry is the number of the write. */
bool polling;
bool blocked;
byte posted_tail = FIRST << 1;
byte posted_head = FIRST;
byte ring[NR_POSTED];
bool again[NR_POSTED];

/* struct native_channel */
byte head = FIRST;
bool ring_lock;
bool space_wq;			/* the vCPU is in it */
bool queued[3];			/* the tasks that are in ch->tasks */
bool recovered;

/* The vCPU's mailbox, which mailbox.pml has all of */
mtype = { FREE, PENDING, TAKEN, DONE };
mtype mailbox = FREE;
byte posted_before;

/* What is left of what can happen */
bit faults = FAULTS;	/* writes that cannot be stored for who has fetched them */

/* What has happened */
byte written;			/* writes that the ring has got */
byte delivered;			/* those that a task has got */
byte retired;
byte holder;			/* who has fetched the oldest one */

#define finished	(mailbox == DONE)

inline spin_lock(l)
{
	!l;
	l = true
}

inline spin_unlock(l)
{
	l = false
}

#define ring_used(tail)	(head - INDEX(tail) & MASK)
#define ring_full()	(ring_used(posted_tail) >= NR_POSTED)

/* What cannot be is none: posted_tail may be ahead of head for a moment. */
#ifdef USED_UNBOUNDED
#define ring_ready()	(!(posted_tail & FETCHED) && ring_used(posted_tail))
#else
#define ring_ready()	(!(posted_tail & FETCHED) && ring_used(posted_tail) && \
			 ring_used(posted_tail) <= NR_POSTED)
#endif

/* Of what remains, 0 and what cannot be are none */
#define mailbox_remaining()	(posted_before - INDEX(posted_tail) & MASK)
#define mailbox_has_predecessors()	(mailbox_remaining() && mailbox_remaining() <= NR_POSTED)

/* Wake-ups. One of those who wait is woken, whichever. */

inline wake_fetcher()
{
	if
	:: queued[1] -> queued[1] = false
	:: queued[2] -> queued[2] = false
	:: !queued[1] && !queued[2]
	fi
}

inline wake_all_fetchers()
{
	queued[1] = false;
	queued[2] = false
}

/*
 * The wake-up for a command may have been spent on who has the write before it. So whoever
 * waits is told when that has been retired.
 */
inline wake_for_pending()
{
	if
	:: mailbox == PENDING && !mailbox_has_predecessors() -> wake_fetcher()
	:: else ->
		if
		:: ring_ready() -> wake_fetcher()
#ifndef PASS_ON_UNBLOCKED
		:: posted_tail & FETCHED -> blocked = true
#endif
		:: else
		fi
	fi
}

inline wake_next_fetcher()
{
	if
	:: queued[1] || queued[2] -> wake_for_pending()
	:: else
	fi
}

inline native_wake_vcpus()
{
	space_wq = false
}

inline unblock()
{
	atomic { blocked = false }
	atomic {
		space_wq = false;
		wake_all_fetchers()
	}
}

/* The vCPU */

inline ring_push()
{
	atomic {
		spin_lock(ring_lock);
		no_space = ring_full();
		if
		:: no_space -> spin_unlock(ring_lock)
		:: else ->
			/* This entry is nobody's until it is made known */
			ring[head % NR_POSTED] = written;
			again[head % NR_POSTED] = false;
			written++;
#ifdef KERNEL_HEAD_FIRST
			head = head + 1 & MASK
#else
			posted_head = head + 1 & MASK
#endif
		fi
	}
	if
	:: !no_space ->
		atomic {
#ifdef KERNEL_HEAD_FIRST
			posted_head = head;
#else
			head = posted_head;
#endif
			spin_unlock(ring_lock)
		}
		atomic {
			if
			:: !polling -> wake_fetcher()
			:: else
			fi
		}
	:: else
	fi
}

inline ring_has_space()
{
#ifndef SPACE_LOOK_FIRST
	blocked = true;
#endif
	atomic {
		spin_lock(ring_lock);
		no_space = ring_full();
		spin_unlock(ring_lock)
	}
#ifdef SPACE_LOOK_FIRST
	blocked = true
#endif
}

inline mailbox_post()
{
	atomic {
		posted_before = head;
		mailbox = PENDING
	}
	atomic {
		if
		:: !polling -> wake_fetcher()
		:: else
		fi
	}
}

/* A posted write */
inline mailbox_req_run()
{
	do
	:: ring_push();
		if
		:: !no_space -> break
		:: else
		fi;
		do
		:: space_wq = true;
			ring_has_space();
			if
			:: !no_space ->
				space_wq = false;
				break
			:: else -> !space_wq
			fi
		od
	od
}

active proctype vcpu()
{
	bool no_space;

	do
	:: written < WRITES -> mailbox_req_run()
	:: else -> break
	od;
	mailbox_post()
}

/* A device task, which may die, or be stopped. What it fetches: a write, or the command */
#define DIES		(me == 1 && !recovered)
#ifndef STOPS
#define STOPS		(me == 1 && !stopped)
#endif

#define COMMAND		100
#define NOTHING		101

/* Whoever fetches the write number @nr of the ring has got the right one. */
inline delivered_to(nr, flag)
{
	assert(got == nr);
	assert(nr >= delivered || flag)
}

inline retired_by(nr)
{
	assert(holder == me);
	holder = 0;
	retired = retired + nr;
	assert(retired <= delivered)
}

inline fetch_mailboxes()
{
	if
#ifdef NO_PREDECESSORS
	:: mailbox == PENDING ->
#else
	:: mailbox == PENDING && !mailbox_has_predecessors() ->
#endif
		mailbox = TAKEN;
		got = COMMAND;
		assert(retired == WRITES)
	:: else
	fi
}

/* The look, and what is copied */
inline fetch_posted()
{
	if
	:: got == NOTHING && ring_ready() ->
		tail = posted_tail;
		got = ring[INDEX(tail) % NR_POSTED];
		flagged = again[INDEX(tail) % NR_POSTED]
	:: else
	fi
}

/* The first load of posted_tail, and the looks, are a step: it is loaded again in the end. */
inline fetch()
{
	do
	:: atomic {
		got = NOTHING;
		word = posted_tail;
		fetch_mailboxes();
		fetch_posted()
	   }
		if
		:: got == COMMAND -> break
		:: got < COMMAND ->
			if
			:: atomic {
				posted_tail == tail ->
				posted_tail = tail | FETCHED;
				delivered_to(retired, flagged);
				holder = me;
				break
			   }
			:: else
			fi
		:: got == NOTHING ->
#ifndef FETCH_UNBLOCKED
			if
			:: word & FETCHED -> blocked = true
			:: else
			fi;
#endif
			atomic {
				ok = posted_tail == word;
				word = 0
			}
			if
			:: ok -> break
			:: else
			fi
		fi
	od
}

inline fetch_sleep()
{
	do
	:: atomic {
		queued[me] = true;
		word = 0;
		tail = 0;
		flagged = false
	   }
		fetch();
		if
		:: got != NOTHING -> break
		:: else
		fi;
		if
		:: !queued[me]
		:: finished -> break
		fi
	od
}

/* The write could not be stored for the task. */
inline fetch_requeue()
{
	atomic {
		if
		:: posted_tail == (tail | FETCHED) ->
			posted_tail = tail;
			holder = 0
		:: else
		fi
	}
	atomic { wake_all_fetchers() }
}

inline retire_posted()
{
	if
	:: posted_tail == (tail | FETCHED) ->
		posted_tail = tail & RECOVERIES | (INDEX(tail) + 1 & MASK) << 1;
		retired_by(1)
	:: else
	fi
}

inline complete_cmd()
{
	atomic {
		if
		:: got == COMMAND -> mailbox = DONE
		:: else -> retire_posted()
		fi
	}
}

inline fetch_commit()
{
	complete_cmd();
	tail = 0;
	if
	:: blocked -> unblock()
	:: else
	fi
}

inline look_at_mailbox()
{
	atomic {
		tail = 0;
		to = 0;
		n = 0;
		flagged = false;
		ok = false;
		got = NOTHING;
		fetch_mailboxes()
	}
	if
	:: got == COMMAND ->
		complete_cmd();
		found = true
	:: else
	fi
}

/* Several writes at once. @lost: they are another task's by now. */
inline look_at_posted()
{
#ifdef HEAD_BEFORE_TAIL
	to = posted_head;
	tail = posted_tail;
#else
	atomic {
		tail = posted_tail;
		to = posted_head
	}
#endif
	if
	:: atomic {
		!(tail & FETCHED) && to != INDEX(tail) && posted_tail == tail ->
		posted_tail = tail | FETCHED;
		holder = me;
		ok = true;
		n = 0
	   }
	:: else
	fi;
	do
	:: ok && DIES -> goto dead
	:: ok && n < POSTED_BATCH && to != (INDEX(tail) + n & MASK) ->
		atomic {
			got = ring[(INDEX(tail) + n & MASK) % NR_POSTED];
			flagged = again[(INDEX(tail) + n & MASK) % NR_POSTED]
		}
		atomic {
			if
#ifdef COPY_UNCHECKED
			:: true ->
#else
			:: posted_tail == (tail | FETCHED) ->
#endif
				delivered_to(retired + n, flagged);
				delivered = (delivered > got -> delivered : got + 1);
				n++
#ifndef COPY_UNCHECKED
			:: else ->
				ok = false;
				lost = true
#endif
			fi
		}
	:: else -> break
	od;
	if
	:: atomic {
		ok && posted_tail == (tail | FETCHED) ->
		posted_tail = tail & RECOVERIES | (INDEX(tail) + n & MASK) << 1;
		retired_by(n);
		found = true
	   }
#ifndef RETIRE_SILENTLY
		if
		:: blocked -> unblock()
		:: else
		fi
#endif
	:: else -> lost = lost || ok
	fi
}

inline look()
{
	atomic {
		found = false;
		ok = false
	}
	look_at_posted();
	if
	:: !lost -> look_at_mailbox()
	:: else
	fi
}

/* A look that would find nothing, and not change polling, is left out. */
inline look_for()
{
	do
	:: stopped || lost || finished -> break
	:: atomic {
		STOPS ->
		stopped = true
	   }
	:: DIES -> goto dead
#ifdef WINDOW
	:: !found -> break
#endif
	:: !stopped && !lost &&
	   (!polling || (!(posted_tail & FETCHED) && posted_head != INDEX(posted_tail)) ||
	    (mailbox == PENDING && !mailbox_has_predecessors())) ->
		polling = true;
		look()
	od
}

inline poll_mapping()
{
	looks = NR_POSTED / POSTED_BATCH + 2;
	do
	:: look_for();
		polling = false;
		found = false;
		if
		:: !lost -> look()
		:: else
		fi;
		if
		:: found && !lost && !stopped
		:: found && !lost && stopped && looks > 0 -> looks--
		:: else -> break
		fi
	od;
	looks = 0;
	found = false
}

inline leave_to_others()
{
	blocked = true;
	unblock()
}

/* To complete what it has got is part of the next system call. */
inline sleep_for_command()
{
	fetch_sleep();
	if
	:: got == NOTHING
	:: atomic {
		got < COMMAND && DIES ->
		queued[me] = false;
		goto dead
	   }
	:: atomic {
		got < COMMAND && faults > 0 ->
		faults = 0;
		queued[me] = false
	   }
		fetch_requeue()
	:: got != NOTHING ->
		atomic {
			queued[me] = false;
			if
			:: got != COMMAND ->
				delivered = (delivered > got -> delivered : got + 1)
			:: else
			fi;
			wake_next_fetcher()
		}
		fetch_commit()
	fi
}

inline sleeps()
{
	do
	:: sleep_for_command();
		if
		:: got == NOTHING -> break
		:: else
		fi
	/* It has completed what it had, and does not fetch any more. */
	:: me == 1 -> break
	od
}

/* In the mapping. The second task stands for the one that has called IOREGIONFD_RECOVER, too. */
inline ioregionfd_channel_run()
{
	do
	:: poll_mapping();
		if
		:: stopped || finished || (lost && me == 1) -> break
		:: else -> lost = false
		fi;
#ifdef WINDOW
		sleep_for_command()
#endif
	od;
#ifndef LEAVES_SILENTLY
	leave_to_others()
#endif
}

proctype task(byte me; bool in_mapping)
{
	byte word, tail, got, to, n, looks;
	bool flagged, ok, found, lost, stopped;

	if
	:: in_mapping -> ioregionfd_channel_run()
	:: else -> sleeps()
	fi;
dead:	skip
}

/* IOREGIONFD_RECOVER */

#ifdef RETIRE_BY_INDEX
#define ring_recovered(word)	((word) & ~FETCHED)
#else
#define ring_recovered(word)	(((word) & ~FETCHED) + RECOVERED & 255)
#endif

inline ring_flag_redelivered()
{
	n = head - 1;
#ifdef FLAG_ONE
	n = INDEX(word);
#endif
	do
	:: used > 0 ->
		again[n % NR_POSTED] = true;
		n--;
		used--
#ifdef FLAG_ONE
		; used = 0
#endif
	:: else -> break
	od;
	n = 0
}

inline recover_ring()
{
	atomic {
		spin_lock(ring_lock);
		word = posted_tail
	}
	do
	:: atomic {
		used = (word & FETCHED && !flagged -> ring_used(word) : 0);
		flagged = flagged || word & FETCHED;
#ifndef FLAG_LATE
		ring_flag_redelivered()
#endif
	   }
		if
		:: atomic {
#ifdef RECOVER_STORES
			true ->
#else
			posted_tail == word ->
#endif
			posted_tail = ring_recovered(word);
			holder = 0;
#ifndef FLAG_LATE
			spin_unlock(ring_lock);
#endif
			break
		   }
		:: else -> word = posted_tail
		fi
	od
#ifdef FLAG_LATE
	; atomic {
		ring_flag_redelivered();
		spin_unlock(ring_lock)
	}
#endif
}

inline file_recover()
{
	atomic {
		polling = false;
		recovered = true
	}
	recover_ring();
	atomic {
		native_wake_vcpus();
#ifndef RECOVER_NO_WAKE
		wake_all_fetchers()
#endif
	}
}

proctype recoverer()
{
	byte word, used, n;
	bool flagged;

	file_recover();
#if RECOVERS > 1
	flagged = false;
	file_recover()
#endif
}

init {
	atomic {
		run task(1, MAPPED1);
		run task(2, MAPPED2);
		run recoverer()
	}
}
