/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who sleeps is woken. Two vCPUs post commands and sleep until those are complete. Two device
 * tasks wait for commands, each in one of the ways that there are: in
 * IOREGIONFD_COMMIT_AND_FETCH for any vCPU or for one, in read(), in poll(), with a command of
 * io_uring, or polling the mapping for a while, of all vCPUs or of one, and then sleeping. The
 * first task may leave: it ends after a command or once it has stopped to poll, a signal takes
 * it out of its sleep, it never enters its io_uring again, or it dies while it polls, after
 * which somebody calls IOREGIONFD_RECOVER.
 *
 * Liveness: all commands are completed, if the tasks that remain serve all vCPUs.
 * Safety: a command is fetched once.
 *
 * virt/kvm/ioregionfd/mailbox.c: mailbox_req_new, mailbox_post, mailbox_announce_sleep,
 *	mailbox_sleep, mailbox_req_run
 * virt/kvm/ioregionfd/fetch.c: fetch_mailbox, fetch_mailboxes, fetch, complete_mailbox,
 *	waiter_begin, waiter_end, wake_one, wake_reader, wake_for_mailbox, wake_fetcher,
 *	wake_all_fetchers, wake_for_pending, wake_next_fetcher, fetch_to_read, fetch_any_way,
 *	fetch_sleep, fetch_store
 * virt/kvm/ioregionfd/uring.c: wake_uring, parked_in_vain, uring_park, uring_end, uring_run,
 *	ioregionfd_uring_cmd
 * virt/kvm/ioregionfd/file.c: file_read_iter, file_write_iter, file_poll, file_recover
 * tools/lib/ioregionfd/channel.c: look, look_for, poll_mapping, complete
 * Here alone: choose, vcpu, task, recoverer
 *
 * Mutant VCPU_LOOK_FIRST deadlock WAY0=ANY,WAY1=ANY: a vCPU looks for the response before
 *	it can be woken
 * Mutant USED_LATE deadlock WAY0=ANY,WAY1=ANY: a vCPU posts before it counts as one that
 *	uses the channel
 * Mutant QUEUE_LATE deadlock WAY0=ANY,WAY1=ANY: a task looks before it enters the queue
 * Mutant WAITERS_LATE deadlock WAY0=ANY,WAY1=ANY: a task looks before it counts as one that
 *	waits
 * Mutant PARK_NO_LOOK deadlock WAY0=URING,WAY1=URING: io_uring does not look once the
 *	command is parked
 * Mutant PARKED_FIRST deadlock WAY0=URING,WAY1=ANY: io_uring's are woken first, who may not
 *	come (was so once)
 * Mutant POLL_LOOK_FIRST deadlock WAY0=POLL,WAY1=POLL: poll() looks before it enters the
 *	queue
 * Mutant SIGNAL_NO_PASS_ON deadlock WAY0=ANY,WAY1=ANY: who leaves by a signal takes the
 *	wake- up along
 * Mutant WRITE_NO_PASS_ON deadlock WAY0=READ,WAY1=READ: write() does not wake who waits for
 *	it in read()
 * Mutant WRITE_NO_POLL deadlock WAY0=READ,WAY1=POLL: write() does not wake who waits for it
 *	in poll()
 * Mutant POLLING_NO_LOOK deadlock WAY0=MAPPING_ANY,WAY1=ANY: a task does not look
 *	once it has stopped to poll
 * Mutant RECOVER_POLLING deadlock WAY0=MAPPING_ANY,WAY1=ANY: RECOVER leaves polling set
 * Mutant RECOVER_OWN_POLLING deadlock WAY0=MAPPING_OWN,WAY1=ANY: RECOVER leaves polling of
 *	a mailbox set
 */

#ifndef COMMANDS
#define COMMANDS	1	/* of the first vCPU; the second one has one */
#endif
#define TOTAL		(COMMANDS + 1)

/* struct ioregionfd_control, struct ioregionfd_mailbox */
mtype = { FREE, PENDING, FETCHED, COMPLETE };
bool polling;
mtype state[2] = FREE;
bool waiting[2];
bool own_polling[2];

/* struct native_channel, struct mailbox */
byte used;
byte waiters;
byte reading;			/* the mailbox, plus 1 */
bool asleep[2];

/* The queues: in which one a task is */
mtype = { NO_QUEUE, TASKS, OWN_TASKS, READERS, PARKED };
mtype queue[2] = NO_QUEUE;
bool in_poll_wq[2];

/* How tasks wait */
mtype = { ANY, OWN, READ, POLL, URING, MAPPING_ANY, MAPPING_OWN };
mtype way[2];

/* What has happened */
byte completed;
bit leaves = 1;			/* what is left of that */
bool died;

#define finished	(completed == TOTAL)

/* Waking */

inline wake_one(q, first, second)
{
	if
	:: queue[first] == q ->
		queue[first] = NO_QUEUE;
		woken = true
	:: queue[second] == q ->
		queue[second] = NO_QUEUE;
		woken = true
	:: queue[first] != q && queue[second] != q
	fi
}

/* It only asks the task to look: uring_run() */
inline wake_uring()
{
	wake_one(PARKED, 0, 1)
}

inline wake_reader()
{
	if
	:: !reading -> wake_one(READERS, 0, 1)
	:: else
	fi
}

/* The queue of the mailbox is that of the task with its number. */
inline wake_for_mailbox(m)
{
	woken = false;
#ifdef PARKED_FIRST
	wake_uring();
#endif
	if
	:: !woken -> wake_one(OWN_TASKS, m, m)
	:: else
	fi;
	if
	:: !woken -> wake_one(TASKS, 0, 1)
	:: else
	fi;
	if
	:: !woken -> wake_reader()
	:: else
	fi;
	if
	:: !woken -> wake_uring()
	:: else
	fi;
	woken = false
}

inline wake_fetcher(m)
{
	if
	:: waiters -> wake_for_mailbox(m)
	:: else
	fi;
	in_poll_wq[0] = false;
	in_poll_wq[1] = false
}

inline wake_all_fetchers()
{
	queue[0] = NO_QUEUE;
	queue[1] = NO_QUEUE;
	in_poll_wq[0] = false;
	in_poll_wq[1] = false
}

/* The vCPU */

inline mailbox_req_new()
{
	used = (used > me -> used : me + 1)
}

inline mailbox_post()
{
	atomic {
		waiting[me] = false;
		state[me] = PENDING
	}
	if
	:: !polling && !own_polling[me] -> atomic { wake_fetcher(me) }
	:: else
	fi;
#ifdef USED_LATE
	mailbox_req_new()
#endif
}

inline mailbox_announce_sleep()
{
	if
	:: state[me] != COMPLETE -> waiting[me] = true
	:: else
	fi
}

inline mailbox_sleep()
{
	atomic { mailbox_announce_sleep() }
	do
#ifdef VCPU_LOOK_FIRST
	:: state[me] == COMPLETE -> break
	:: else ->
		asleep[me] = true;
		!asleep[me]
#else
	:: asleep[me] = true;
		if
		:: state[me] == COMPLETE -> break
		:: else -> !asleep[me]
		fi
#endif
	od
}

inline mailbox_req_run()
{
	mailbox_post();
	mailbox_sleep()
}

proctype vcpu(byte me; byte commands)
{
	bool woken;

	do
	:: atomic {
		commands > 0 ->
#ifndef USED_LATE
		mailbox_req_new();
#endif
		commands--
	   }
		mailbox_req_run()
	:: else -> break
	od
}

/* A device task. It has got the command of a mailbox, or none. */
#define NONE		2

/* The first one may leave if the other one serves both vCPUs. */
#define MAY_LEAVE	(me == 0 && leaves && way[1] != OWN && way[1] != MAPPING_OWN)

inline fetch_mailbox(m)
{
	if
	:: state[m] == PENDING ->
		got = m;
		if
		:: take -> state[m] = FETCHED
		:: else
		fi
	:: else
	fi
}

/* All in one step: of what is posted meanwhile its vCPU tells. */
inline fetch_mailboxes(own)
{
	if
	:: own -> fetch_mailbox(me)
	:: else ->
		if
		:: used > 0 -> fetch_mailbox(0)
		:: else
		fi;
		if
		:: got == NONE && used > 1 -> fetch_mailbox(1)
		:: else
		fi
	fi
}

inline fetch(takes, own)
{
	atomic {
		take = takes;
		got = NONE;
		fetch_mailboxes(own);
		take = false
	}
}

inline wake_for_pending()
{
	if
	:: state[0] == PENDING && used > 0 -> wake_fetcher(0)
	:: else
	fi;
	if
	:: state[1] == PENDING && used > 1 -> wake_fetcher(1)
	:: else
	fi
}

inline wake_next_fetcher()
{
	atomic {
		if
		:: waiters -> wake_for_pending()
		:: else
		fi
	}
}

inline waiter_begin()
{
	waiters++
}

inline waiter_end()
{
	waiters--
}

/* By ioctl */
inline complete_mailbox()
{
	atomic {
		assert(state[mine] == FETCHED);
		state[mine] = COMPLETE;
		completed++;
		if
		:: !waiting[mine] -> mine = NONE
		:: else
		fi
	}
	if
	:: atomic {
		mine != NONE ->
		asleep[mine] = false;
		mine = NONE
	   }
	:: else
	fi
}

/* In the mapping */
inline complete()
{
	if
	:: atomic {
		!waiting[mine] ->
		assert(state[mine] == FETCHED);
		state[mine] = COMPLETE;
		completed++;
		mine = NONE
	   }
	:: else -> complete_mailbox()
	fi
}

/* The others in read() see that it is 0 in the same step as if under read_lock. */
inline fetch_to_read()
{
	atomic {
		got = NONE;
		if
		:: !reading ->
			take = true;
			fetch_mailboxes(false);
			take = false;
			reading = (got == NONE -> 0 : got + 1)
		:: else
		fi
	}
}

inline fetch_any_way()
{
	if
	:: way[me] == READ -> fetch_to_read()
	:: else -> fetch(true, way[me] == OWN || way[me] == MAPPING_OWN)
	fi
}

#define the_queue	(way[me] == READ -> READERS : \
			 (way[me] == OWN || way[me] == MAPPING_OWN -> OWN_TASKS : TASKS))

inline fetch_sleep()
{
#ifndef WAITERS_LATE
	waiter_begin();
#endif
	do
#ifdef QUEUE_LATE
	:: fetch_any_way();
		if
		:: got != NONE -> break
		:: else -> queue[me] = the_queue
		fi;
#else
	:: queue[me] = the_queue;
		fetch_any_way();
		if
		:: got != NONE -> break
		:: else
		fi;
#endif
#ifdef WAITERS_LATE
		waiter_begin();
#endif
		if
		:: queue[me] == NO_QUEUE
		:: finished -> break
		:: atomic {
			MAY_LEAVE ->
			leaves = 0;
			left = true;
			break
		   }
		fi
#ifdef WAITERS_LATE
		; waiter_end()
#endif
	od;
	atomic {
		mine = got;
		got = NONE;
		queue[me] = NO_QUEUE;
#ifdef WAITERS_LATE
		if
		:: mine == NONE -> waiter_end()
		:: else
		fi
#else
		waiter_end()
#endif
	}
}

inline fetch_store()
{
	wake_next_fetcher()
}

inline file_read_iter()
{
	fetch_sleep()
}

inline file_write_iter()
{
	reading = 0;
	complete_mailbox();
#ifndef WRITE_NO_PASS_ON
	wake_next_fetcher();
#endif
#ifndef WRITE_NO_POLL
	atomic {
		if
		:: in_poll_wq[1 - me] ->
			fetch(false, false);
			if
			:: got != NONE -> in_poll_wq[1 - me] = false
			:: else
			fi
		:: else
		fi;
		got = NONE
	}
#endif
}

/* Then it fetches without waiting. */
inline file_poll()
{
	do
#ifdef POLL_LOOK_FIRST
	:: got = NONE;
		if
		:: !reading -> fetch(false, false)
		:: else
		fi;
		in_poll_wq[me] = true;
#else
	:: in_poll_wq[me] = true;
		atomic {
			got = NONE;
			if
			:: !reading -> fetch(false, false)
			:: else
			fi
		}
#endif
		if
		:: got != NONE ->
			fetch(true, false);
			if
			:: got != NONE -> break
			:: else
			fi
		:: else ->
			if
			:: !in_poll_wq[me]
			:: finished -> break
			fi
		fi
	od;
	atomic {
		mine = got;
		got = NONE;
		in_poll_wq[me] = false
	}
}

inline parked_in_vain()
{
	fetch(false, false)
}

inline uring_park()
{
	queue[me] = PARKED;
#ifndef PARK_NO_LOOK
	parked_in_vain();
	if
	:: atomic {
		got != NONE ->
		wake_uring();
		woken = false;
		got = NONE
	   }
	:: else
	fi
#endif
}

inline uring_end()
{
	waiter_end()
}

/* Once it is woken the task looks, when it next enters its ring. */
inline uring_run()
{
	do
	:: uring_park();
		if
		:: queue[me] == NO_QUEUE ->
			if
			:: atomic {
				MAY_LEAVE && way[1] != URING ->
				leaves = 0;
				left = true;
				break
			   }
			:: true
			fi
		:: finished -> break
		fi;
		fetch(true, false);
		if
		:: got != NONE -> break
		:: else
		fi
	od
}

inline ioregionfd_uring_cmd()
{
	waiter_begin();
	fetch(true, false);
	if
	:: got == NONE -> uring_run()
	:: else
	fi;
	atomic {
		if
		:: left -> got = NONE
		:: else -> uring_end()
		fi;
		mine = got;
		got = NONE;
		queue[me] = NO_QUEUE
	}
}

#define my_polling	(way[me] == MAPPING_ANY -> polling : own_polling[me])

inline look()
{
	fetch(true, way[me] == MAPPING_OWN);
	if
	:: got != NONE ->
		mine = got;
		complete()
	:: else
	fi
}

/* It looks time and again until there is something or it stops. */
inline look_for()
{
	do
	:: !my_polling ->
		if
		:: way[me] == MAPPING_ANY -> polling = true
		:: else -> own_polling[me] = true
		fi
	:: else ->
		if
		:: state[me] == PENDING || (state[1 - me] == PENDING && way[me] == MAPPING_ANY) ->
			look()
		:: atomic {
			MAY_LEAVE ->
			leaves = 0;
			left = true;
			break
		   }
		:: true -> break
		fi
	od
}

inline poll_mapping()
{
	do
	:: look_for();
		if
		:: left -> break
		:: else
		fi;
		atomic {
			if
			:: way[me] == MAPPING_ANY -> polling = false
			:: else -> own_polling[me] = false
			fi
		}
		got = NONE;
#ifndef POLLING_NO_LOOK
		look();
#endif
		if
		:: got == NONE -> break
		:: else
		fi
	od
}

proctype task(byte me)
{
	byte got = NONE, mine = NONE;
	bool take, woken, left;

	do
	:: finished || left -> break
	:: atomic {
		MAY_LEAVE ->
		leaves = 0;
		left = true;
		break
	   }
	:: !finished && !left ->
		if
		:: way[me] == ANY || way[me] == OWN -> fetch_sleep()
		:: way[me] == MAPPING_ANY || way[me] == MAPPING_OWN ->
			poll_mapping();
			if
			:: left ->
				died = true;
				break
			:: !left -> fetch_sleep()
			:: atomic {
				!left && MAY_LEAVE ->
				leaves = 0;
				left = true;
				break
			   }
			fi
		:: way[me] == READ -> file_read_iter()
		:: way[me] == POLL -> file_poll()
		:: way[me] == URING -> ioregionfd_uring_cmd()
		fi;
		if
		:: mine != NONE && way[me] == READ ->
			wake_next_fetcher();
			file_write_iter()
		:: mine != NONE && way[me] != READ ->
			fetch_store();
			complete_mailbox()
		:: mine == NONE && left && way[me] != URING ->
#ifndef SIGNAL_NO_PASS_ON
			wake_next_fetcher()
#else
			skip
#endif
		:: else
		fi;
		got = NONE
	od
}

inline file_recover()
{
#ifndef RECOVER_POLLING
	polling = false;
#endif
#ifndef RECOVER_OWN_POLLING
	own_polling[0] = false;
	own_polling[1] = false;
#endif
	atomic { wake_all_fetchers() }
}

proctype recoverer()
{
	if
	:: died -> file_recover()
	:: finished
	fi
}

inline choose(first, second)
{
	way[0] = first;
	way[1] = second
}

init {
	atomic {
#ifdef WAY0
		choose(WAY0, WAY1);
#else
		if
		:: choose(ANY, ANY)
		:: choose(OWN, OWN)
		:: choose(READ, READ)
		:: choose(POLL, POLL)
		:: choose(URING, URING)
		:: choose(OWN, ANY)
		:: choose(READ, POLL)
		:: choose(URING, ANY)
		:: choose(READ, URING)
		:: choose(MAPPING_OWN, OWN)
		:: choose(MAPPING_OWN, READ)
		:: choose(MAPPING_ANY, URING)
		fi;
#endif
		run task(0);
		run task(1);
		run vcpu(0, COMMANDS);
		run vcpu(1, 1);
		run recoverer()
	}
}
