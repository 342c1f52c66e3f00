/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mailbox: one vCPU's commands, from the post to the response or to the end without one.
 * Two device tasks serve it, each in one of three ways: in the mapping, by ioctl, or by read()
 * and write(). IOREGIONFD_RECOVER comes at any moment; before it, the first task may die at any
 * point. Tasks are not malicious, only late.
 *
 * Safety:
 * - The response that the vCPU uses is of the task that held the command.
 * - A command is completed once. Nobody fetches it twice, unless the second time has
 *   IOREGIONFD_CMD_F_REDELIVERED. Nobody fetches one that was given up.
 * - The vCPU is told that nobody has seen its command only if that is so, and that somebody
 *   may have seen it only if it had left the mailbox.
 * - The vCPU posts no command while a task holds the one before it.
 * Liveness: each wait of the vCPU ends.
 *
 * virt/kvm/ioregionfd/native.h: mailbox_word, mailbox_is, mailbox_is_complete, mailbox_publish
 * virt/kvm/ioregionfd/mailbox.c: mailbox_post, mailbox_occupied, mailbox_announce_sleep,
 *	mailbox_sleep, mailbox_done, mailbox_req_new, mailbox_req_start, mailbox_req_run,
 *	mailbox_req_done, mailbox_abandon, mailbox_req_abandon, native_wake_vcpus
 * virt/kvm/ioregionfd/fetch.c: fetch_mailbox, requeue_mailbox, complete_half,
 *	complete_abandoned, complete_mailbox, fetch_to_read
 * virt/kvm/ioregionfd/file.c: file_read_iter, read_by_current, file_write_iter, mailbox_revoke,
 *	recover_mailbox, file_recover
 * tools/lib/ioregionfd/channel.c: store_half, complete, look_at_mailbox
 * The kernel: spin_lock, spin_unlock, rcuwait_wake_up
 * Here alone: mailbox_fill, fetched_by, completed_by, forget, vcpu, task, recoverer
 *
 * Variant ACCESSES=2
 * Variant ACCESSES=1,FAULTS=1
 * Variant ACCESSES=1,RECOVERS=2
 * Livelock ACCESSES=1,FAULTS=1
 *
 * Mutant COPY_LATE assertion: a command is copied after it has changed hands (was so once)
 * Mutant HALF_UNCHECKED assertion: the value is stored whoever has the command (was so
 *	once)
 * Mutant WRITE_BY_ANYBODY assertion: write() completes what another has read (was so once)
 * Mutant REQUEUE_OVER assertion ACCESSES=1,FAULTS=1: a command is requeued that was given
 *	up (was so once)
 * Mutant RECOVERED_UNSEEN assertion: a recovered command counts as not seen (was so once)
 * Mutant RECOVER_NUMBER assertion: a recovered command keeps its number
 * Mutant POST_ABANDONED assertion: a command is posted while the last one is with a task
 * Mutant REVOKE_ONCE deadlock: RECOVER gives up if the vCPU announces its sleep (was so
 *	once)
 * Mutant RECOVER_AWAKE deadlock: a recovered command forgets that the vCPU sleeps
 * Mutant ABANDONED_NO_WAKE deadlock: nobody is told that an abandoned command is over
 * Mutant UNANNOUNCED deadlock: a vCPU sleeps and does not say so
 */

/* include/uapi/linux/ioregionfd.h */
#define FREE		0
#define PENDING		1
#define FETCHED		2
#define ABANDONED	3
#define COMPLETE	4
#define STATE		7
#define WAITING		8
#define SHIFT		4
#define NUMBER(word)	((word) >> SHIFT)
#define STATE_OF(word)	((word) & STATE)

#ifndef ACCESSES
#define ACCESSES	2
#endif
#ifndef FAULTS
#define FAULTS		0
#endif
#ifndef RECOVERS
#define RECOVERS	1
#endif

/* struct ioregionfd_mailbox. A value is the task that it is of; the number is beside it. */
byte state;
byte data[2];
byte shared_cmd;
bool shared_again;

/* struct mailbox. A command is the number of the access. */
byte req_cmd;
byte number;
byte redelivered;
bool sent;
bool abandoned;
bool lock;
bool asleep;			/* in wait */

/* struct native_channel */
bool read_lock;
byte reading;
byte reader;		/* means nothing while reading is 0 */
bool recovered;

/* What is left of what can happen */
bit give_ups = 1;		/* accesses that are given up */
bit faults = FAULTS;			/* commands that cannot be stored for who has fetched them */
bool over;			/* the vCPU has carried all accesses out */

/* What has happened, to the command of this number */
byte holder;			/* who has fetched it last */
bool completed;

/* And to this access */
bool seen;			/* fetched, and not requeued */
bool left;			/* fetched */
bool given_up;

/*
 * Each atomic is a step: an access to what others can see, with what follows from it. A loop
 * around try_cmpxchg() is one step, since it goes on until it has exchanged what it has seen.
 */

/* What kvm.ko's events would say, in a run that is simulated: replay.awk has to allow it. */
#ifdef TRACE
#define TELL(...)	__VA_ARGS__
byte progress;			/* KVM_IOREGIONFD_SENT_* */
bool ended;			/* the access has been completed */
#else
#define TELL(...)	skip
#endif

inline spin_lock(l)
{
	!l;
	l = true
}

inline spin_unlock(l)
{
	l = false
}

inline rcuwait_wake_up()
{
	asleep = false
}

#define mailbox_word(to)	(number << SHIFT | (to))
#define mailbox_is(to)		((state & ~WAITING) == mailbox_word(to))
#define mailbox_is_complete()	((state & ~(STATE | WAITING) | state & COMPLETE) == \
				 mailbox_word(COMPLETE))

/* What it stores first, and the step by which all of that becomes visible */
inline mailbox_fill(redelivery)
{
	shared_cmd = req_cmd;
	shared_again = redelivery;
	data[0] = number << SHIFT;
	data[1] = number << SHIFT;
	holder = 0;
	completed = false
}

inline mailbox_publish(to)
{
	state = mailbox_word(to)
}

/* The vCPU */

inline mailbox_post()
{
	atomic {
		spin_lock(lock);
		number++;
		sent = true;
		assert(STATE_OF(state) == FREE || STATE_OF(state) & COMPLETE);
		mailbox_fill(false)
	}
	atomic {
		mailbox_publish(PENDING);
		spin_unlock(lock)
	}
}

inline mailbox_occupied()
{
	if
	:: abandoned && !mailbox_is(ABANDONED) -> abandoned = false
	:: else
	fi
}

inline mailbox_announce_sleep()
{
	if
#ifndef UNANNOUNCED
	:: mailbox_is(PENDING) || mailbox_is(FETCHED) -> state = state | WAITING
#endif
	:: else
	fi
}

/* Until the command is complete, or the mailbox is free for one, or the vCPU gives up */
inline mailbox_sleep()
{
	atomic { mailbox_announce_sleep() }
	do
	:: asleep = true;
		if
		:: atomic {
			mailbox_is_complete() || (abandoned && !mailbox_is(ABANDONED)) ->
			asleep = false;
			break
		   }
		:: else
		fi;
		if
		:: !asleep
		:: atomic {
			give_ups > 0 ->
			asleep = false;
			interrupted = true;
			TELL(printf("vcpu-1 [0] 1: kvm_userspace_exit: reason restart\n"));
			break
		   }
		fi
	od
}

inline mailbox_done()
{
	assert(data[0] == (number << SHIFT | holder));
	assert(data[1] == (number << SHIFT | holder));
	sent = false;
	TELL(ended = true; printf(
	"vcpu-1 [0] 1: kvm_ioregionfd_complete: vcpu 0 mmio read addr %d size 1 data 0x%x status done\n",
	     req_cmd, holder))
}

inline mailbox_req_done()
{
	if
	:: sent && mailbox_is_complete() -> mailbox_done()
	:: else
	fi
}

inline mailbox_abandon()
{
	if
	:: mailbox_is(PENDING) ->
		state = mailbox_word(FREE);
		given_up = true;
		/* KVM_IOREGIONFD_SENT_ALL or _SENT_NONE */
		if
#ifndef RECOVERED_UNSEEN
		:: redelivered == number ->
			assert(left);
			TELL(progress = 1)
#endif
		:: else -> assert(!seen)
		fi
	:: mailbox_is(FETCHED) ->
		state = mailbox_word(ABANDONED);
		given_up = true;
		abandoned = true;
		TELL(progress = 1)
	:: else ->
		/* The response is dropped. KVM_IOREGIONFD_SENT_ALL */
		assert(mailbox_is_complete() && left);
		TELL(progress = 1)
	fi
}

inline mailbox_req_abandon()
{
	spin_lock(lock);
	if
	:: sent ->
		sent = false;
		mailbox_abandon()
	:: else
	fi;
	spin_unlock(lock);
	TELL(if
	     :: !ended -> printf(
	"vcpu-1 [0] 1: kvm_ioregionfd_fail: vcpu 0 mmio read addr %d size 1 reason io progress %d\n",
				 req_cmd, progress)
	     :: else
	     fi)
}

inline mailbox_req_new()
{
	req_cmd = access;
	seen = false;
	left = false;
	given_up = false;
	TELL(ended = false; progress = 0; printf(
	"vcpu-1 [0] 1: kvm_ioregionfd_submit: vcpu 0 mmio read addr %d size 1 data 0x0\n",
	     req_cmd))
}

inline mailbox_req_start()
{
	atomic { mailbox_occupied() }
	if
	:: !abandoned -> mailbox_post()
#ifdef POST_ABANDONED
	:: abandoned -> mailbox_post()
#endif
	:: else
	fi
}

/*
 * The vCPU gives up because of KVM_RUN_IOREGIONFD_CANCEL, which takes a response that is
 * there, or because the region has been removed.
 */
inline mailbox_req_run()
{
	do
	:: atomic {
		give_ups > 0 ->
		give_ups = 0;
		interrupted = false
	   }
		if
		:: atomic { mailbox_req_done() }
		:: true
		fi;
		atomic {
			mailbox_req_abandon();
			break
		}
	:: !interrupted && !sent ->
		mailbox_req_start();
		if
		:: !sent -> mailbox_sleep()
		:: else
		fi
	:: atomic {
		!interrupted && sent && mailbox_is_complete() ->
		mailbox_done();
		break
	   }
	:: !interrupted && sent && !mailbox_is_complete() -> mailbox_sleep()
	od
}

active proctype vcpu()
{
	byte access;
	bool interrupted;

	do
	:: atomic {
		access < ACCESSES ->
		access++;
		mailbox_req_new()
	   }
		mailbox_req_run()
	:: else -> break
	od;
	over = true
}

/* A device task, and its way */

#define MAPPING	0
#define IOCTL	1
#define READ	2

/* The step by which it gets a command */
inline fetched_by()
{
	id = NUMBER(word);
	assert(id == number && cmd == req_cmd && !given_up);
	assert(!seen || again);
	holder = me;
	seen = true;
	left = true
}

/* The step by which it completes one */
inline completed_by()
{
	assert(id == number && !completed);
	completed = true
}

inline fetch_mailbox(looks)
{
	atomic {
		looks && mailbox_is(PENDING) ->
		word = state;
		cmd = req_cmd;
		again = redelivered == number
	}
	atomic {
		if
		:: state == word ->
			state = word ^ PENDING ^ FETCHED;
#ifdef COPY_LATE
			id = NUMBER(word)
#else
			fetched_by()
#endif
		:: else -> id = 0
		fi
	}
#ifdef COPY_LATE
	atomic {
		if
		:: id ->
			cmd = req_cmd;
			fetched_by()
		:: else
		fi
	}
#endif
}

/* The command could not be stored for the task. */
inline requeue_mailbox()
{
	atomic {
		spin_lock(lock);
		over_now = !sent;
#ifdef REQUEUE_OVER
		over_now = false;
#endif
		if
		:: NUMBER(state) == id && (STATE_OF(state) == FETCHED ||
					   STATE_OF(state) == ABANDONED) ->
			if
			:: over_now -> state = mailbox_word(FREE)
			:: else ->
				state = state & ~STATE | PENDING;
				seen = again
			fi
		:: else
		fi;
		spin_unlock(lock);
		id = 0
	}
	atomic {
		if
		:: over_now -> rcuwait_wake_up()
		:: else
		fi
	}
}

inline complete_half(half)
{
	if
	:: NUMBER(data[half]) == id -> data[half] = id << SHIFT | me
#ifdef HALF_UNCHECKED
	:: NUMBER(data[half]) != id -> data[half] = id << SHIFT | me
#endif
	:: else -> ok = false
	fi
}

inline complete_abandoned()
{
	state = id << SHIFT | FREE;
#ifndef ABANDONED_NO_WAKE
	wake = true
#endif
}

/* By ioctl. To load the state is one step with the first half: nothing depends on both. */
inline complete_mailbox()
{
	atomic {
		ok = NUMBER(state) == id;
		if
		:: ok && STATE_OF(state) == FETCHED -> complete_half(0)
		:: else
		fi
	}
	if
	:: ok && STATE_OF(state) == FETCHED -> atomic { complete_half(1) }
	:: else
	fi;
	atomic {
		if
		:: ok && NUMBER(state) == id && STATE_OF(state) == FETCHED ->
			wake = (state & WAITING) != 0;
			state = id << SHIFT | COMPLETE;
			completed_by()
		:: ok && NUMBER(state) == id && STATE_OF(state) == ABANDONED ->
			complete_abandoned()
		:: else
		fi;
		id = 0
	}
	if
	:: atomic {
		wake ->
		wake = false;
		rcuwait_wake_up()
	   }
	:: else
	fi
}

/* In the mapping, or else by ioctl */
inline look_at_mailbox()
{
	atomic {
		way == MAPPING && STATE_OF(state) == PENDING ->
		word = state;
		cmd = shared_cmd;
		again = shared_again
	}
	atomic {
		if
		:: state == word ->
			state = word ^ PENDING ^ FETCHED;
			fetched = state;
			fetched_by()
		:: else -> id = 0
		fi
	}
}

inline store_half(half)
{
	complete_half(half)
}

inline complete()
{
	atomic {
		ok = !(fetched & WAITING);
		if
		:: ok -> store_half(0)
		:: else
		fi
	}
	if
	:: ok -> atomic { store_half(1) }
	:: else
	fi;
	if
	:: atomic {
		ok && state == (id << SHIFT | FETCHED) ->
		state = id << SHIFT | COMPLETE;
		completed_by();
		id = 0
	   }
	:: else -> complete_mailbox()
	fi
}

/* By read() and write() */
inline fetch_to_read()
{
	atomic {
		way == READ && !reading && mailbox_is(PENDING) ->
		spin_lock(read_lock)
	}
	if
	:: fetch_mailbox(true)
	:: !mailbox_is(PENDING) -> id = 0
	fi;
	atomic {
		if
		:: id ->
			reading = id;
			reader = me
		:: else
		fi;
		spin_unlock(read_lock)
	}
}

/* What it does when the command could not be stored */
inline file_read_iter()
{
	atomic {
		spin_lock(read_lock);
		if
		:: reading == id -> reading = 0
		:: else
		fi;
		spin_unlock(read_lock)
	}
	requeue_mailbox()
}

inline read_by_current()
{
	spin_lock(read_lock);
	id = 0;
	if
	:: !recovered || reader == me ->
		id = reading;
		reading = 0
#ifdef WRITE_BY_ANYBODY
	:: recovered && reader != me ->
		id = reading;
		reading = 0
#endif
	:: else
	fi;
	spin_unlock(read_lock)
}

inline file_write_iter()
{
	atomic { read_by_current() }
	if
	:: id -> complete_mailbox()
	:: else
	fi
}

#define DIES	(me == 1 && !recovered)

inline forget()
{
	atomic {
		word = 0;
		fetched = 0;
		cmd = 0;
		again = false;
		ok = false;
		over_now = false
	}
}

proctype task(byte me; byte way)
{
	byte word, fetched, id, cmd;
	bool again, ok, over_now, wake;

	do
	:: look_at_mailbox();
		if
		:: !id
		:: id && DIES -> break
		:: id -> complete()
		fi;
		forget()
	:: fetch_mailbox(way == IOCTL);
		if
		:: !id
		:: id && DIES -> break
		:: id && faults > 0 ->
			faults = 0;
			requeue_mailbox()
		:: id -> complete_mailbox()
		fi;
		forget()
	:: fetch_to_read();
		if
		:: !id
		:: id && DIES -> break
		:: id && faults > 0 ->
			faults = 0;
			file_read_iter()
		:: id -> file_write_iter()
		fi;
		forget()
	:: DIES || over -> break
	od
}

/* IOREGIONFD_RECOVER */

inline mailbox_revoke()
{
	if
	:: mailbox_is(PENDING) || mailbox_is_complete() -> revoked = false
	:: else ->
		revoked = true;
		state = mailbox_word(FREE)
	fi
}

inline recover_mailbox()
{
#ifdef REVOKE_ONCE
	atomic {
		spin_lock(lock);
		word = state
	}
	atomic {
		if
		:: state == word -> mailbox_revoke()
		:: else -> revoked = false
		fi
	}
#else
	atomic {
		spin_lock(lock);
		mailbox_revoke()
	}
#endif
	if
	:: atomic {
		revoked && sent ->
#ifndef RECOVER_NUMBER
		number++;
#endif
		redelivered = number;
		mailbox_fill(true)
	   }
		atomic {
#ifdef RECOVER_AWAKE
			mailbox_publish(PENDING);
#else
			mailbox_publish(PENDING | WAITING);
#endif
			spin_unlock(lock)
		}
	:: else -> spin_unlock(lock)
	fi
}

inline native_wake_vcpus()
{
	rcuwait_wake_up()
}

inline file_recover()
{
	atomic {
		spin_lock(read_lock);
		reading = 0;
		recovered = true;
		spin_unlock(read_lock)
	}
	recover_mailbox();
	native_wake_vcpus()
}

proctype recoverer()
{
	bool revoked;
#ifdef REVOKE_ONCE
	byte word;
#endif

	file_recover();
#if RECOVERS > 1
	file_recover()
#endif
}

init {
	byte way1, way2;

	atomic {
		select(way1 : 0 .. 2);
		select(way2 : 0 .. 2);
		run task(1, way1);
		run task(2, way2);
		run recoverer();
		way1 = 0;
		way2 = 0
	}
}
