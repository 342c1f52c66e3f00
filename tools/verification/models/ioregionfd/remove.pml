/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What ends: a region is removed with KVM_IOREGION_DEASSIGN, the last descriptor of a channel
 * is closed, or the VM goes. A vCPU posts commands and posted writes for two regions meanwhile,
 * the first of which is removed. A device task fetches them, sleeps, and may fall silent: then
 * it closes the channel, as it may at any time, or keeps it while the region is removed.
 *
 * Safety:
 * - When KVM_IOREGION_DEASSIGN has returned, no command or write is posted for the region. Once
 *   posted_tail has come to the posted_head that is read then, the task gets none of its writes.
 * - No vCPU finds the region any more, and once the last access is over there is no command.
 * - The ring is not used once it is freed, nor is the channel.
 * Liveness: the vCPU's wait ends, KVM_IOREGION_DEASSIGN returns, the writes that it has left are
 * retired unless the task is silent, the task is told that the VM is gone, and the channel is
 * freed.
 *
 * virt/kvm/ioregionfd/control.c: ioregionfd_region_find, ioregionfd_region_put,
 *	ioregionfd_deassign, kvm_ioregionfd_vm_destroy
 * virt/kvm/ioregionfd/mailbox.c: region_usable, native_wake_vcpus, ring_push, ring_has_space,
 *	mailbox_post, mailbox_req_new, mailbox_req_start, mailbox_sleep, mailbox_abandon,
 *	mailbox_req_abandon, mailbox_req_run, native_deassign
 * virt/kvm/ioregionfd/fetch.c: fetch, fetch_sleep, complete_cmd, unblock
 * virt/kvm/ioregionfd/file.c: native_put, native_release, ioregionfd_native_vm_destroy
 * The kernel: srcu_read_lock, srcu_read_unlock, synchronize_srcu_expedited
 * Here alone: wake_fetcher, access_run, vcpu, task, vmm
 *
 * Mutant DEASSIGN_NO_SRCU assertion: DEASSIGN does not wait for who is just posting
 * Mutant USABLE_EARLY assertion: the vCPU looks at the region before it enters kvm->srcu
 * Mutant HEAD_EARLY assertion: the VMM reads posted_head before DEASSIGN returns
 * Mutant RING_UNLOCKED assertion: the ring is freed while a write is added to it
 * Mutant RELEASE_LISTED assertion: a closed channel stays in the list of its VM
 * Mutant SLEEP_IN_SRCU deadlock: the vCPU sleeps in kvm->srcu, which DEASSIGN waits for
 * Mutant DEASSIGN_NO_WAKE deadlock: DEASSIGN does not wake the vCPU
 * Mutant SPACE_NO_WAKE deadlock: nor if it waits for space in the ring
 * Mutant SLEEP_LOOK_FIRST deadlock: the vCPU looks at the region before it can be woken
 * Mutant RELEASE_USED_FIRST deadlock: closing looks for vCPUs to wake first (was so once)
 * Mutant VM_DEAD_LOOK_FIRST deadlock: a task looks for the VM before it can be woken
 * Mutant DEASSIGN_NO_PUT deadlock: DEASSIGN keeps the region's reference to the channel
 * Mutant DEASSIGN_IN_TREE assertion: DEASSIGN leaves the region where vCPUs find it
 * Mutant ABANDON_POSTED assertion: a vCPU that gives up leaves its command in the mailbox
 * Mutant RETIRE_NOTHING deadlock: a posted write is not retired
 */

#ifndef ACCESSES
#define ACCESSES	2
#endif

/* The mailbox, and the ring, of one write: to which region. mailbox.pml, posted.pml */
mtype = { FREE, PENDING, FETCHED, COMPLETE };
mtype state = FREE;
byte ring;
byte posted_head;
byte posted_tail;
bool blocked;

/* struct kvm, struct ioregionfd_vm, struct ioregionfd_region: the first one */
bool srcu;			/* the vCPU is in it */
bool vm_lock;
bool listed = true;		/* the channel, in the VM's */
bool in_tree = true;
bool removed;

/* struct native_channel. The references are of the file and of the regions. */
byte refs = 3;
byte used;
bool released;
bool ring_freed;
bool ring_lock;
bool vm_dead;
bool asleep;			/* the vCPU */
bool space_wq;			/* so is it, for space in the ring */
bool queued;			/* the task */

/* What has happened */
bool closes;			/* who falls silent closes the channel */
bool silent;
bool over;			/* the vCPU has carried all accesses out */
bool deassigned;		/* DEASSIGN has returned */
bool drained;			/* and there are no writes of the region any more */

inline srcu_read_lock()
{
	srcu = true
}

inline srcu_read_unlock()
{
	srcu = false
}

inline synchronize_srcu_expedited()
{
#ifndef DEASSIGN_NO_SRCU
	!srcu
#else
	skip
#endif
}

#define region_usable()	(!released && !(region == 1 && removed))

/* The task has given its queue up, or has been taken off it. */
inline wake_fetcher()
{
	queued = false
}

/* The vCPU */

inline ioregionfd_region_find()
{
	found = region == 2 || in_tree;
	assert(!found || region == 2 || !deassigned);
	refs = (found -> refs + 1 : refs)
}

inline native_put()
{
	assert(refs > 0);
	refs--
}

inline ioregionfd_region_put()
{
	native_put()
}

inline native_wake_vcpus()
{
	if
#ifdef RELEASE_USED_FIRST
	:: users > 0 -> asleep = false
#else
	:: used > 0 -> asleep = false
#endif
	:: else
	fi;
#ifndef SPACE_NO_WAKE
	space_wq = false
#endif
}

inline ring_push()
{
#ifdef RING_UNLOCKED
	done = !ring_freed && !ring;
#else
	atomic {
		!ring_lock ->
		ring_lock = true;
		done = !ring_freed && !ring
	}
#endif
	if
	:: done ->
		atomic {
			assert(!ring_freed);
			assert(region == 2 || !deassigned);
			ring = region;
			posted_head++;
			ring_lock = false
		}
		wake_fetcher()
	:: else -> ring_lock = false
	fi
}

inline ring_has_space()
{
	blocked = true;
	done = !ring && !ring_freed
}

inline mailbox_post()
{
	atomic {
		assert(region == 2 || !deassigned);
		sent = true;
		state = PENDING
	}
	wake_fetcher()
}

inline mailbox_req_new()
{
	used = 1
}

inline mailbox_req_start()
{
#ifdef USABLE_EARLY
	done = region_usable();
	srcu_read_lock();
#else
	srcu_read_lock();
	done = region_usable();
#endif
	if
	:: done && command ->
		done = false;
		mailbox_post()
	:: done && !command -> ring_push()
	:: else
	fi;
#ifndef SLEEP_IN_SRCU
	srcu_read_unlock()
#endif
}

inline mailbox_sleep()
{
	do
#ifdef SLEEP_LOOK_FIRST
	:: state == COMPLETE || !region_usable() -> break
	:: else ->
		asleep = true;
		!asleep
#else
	:: asleep = true;
		if
		:: state == COMPLETE || !region_usable() -> break
		:: else -> !asleep
		fi
#endif
	od;
	asleep = false;
	srcu_read_unlock()
}

/* To the VMM, or to its failure exit */
inline mailbox_abandon()
{
#ifndef ABANDON_POSTED
	state = FREE
#else
	skip
#endif
}

inline mailbox_req_abandon()
{
	atomic {
		if
		:: sent ->
			sent = false;
			mailbox_abandon()
		:: else
		fi
	}
}

inline mailbox_req_run()
{
	do
	:: region == 1 && removed -> break
	:: else ->
		done = false;
		if
		:: !sent -> mailbox_req_start()
		:: else
		fi;
		if
		:: done -> break
		:: atomic {
			!done && sent && state == COMPLETE ->
			sent = false;
			break
		   }
		:: !done && released -> break
		:: else
		fi;
		if
		:: command -> mailbox_sleep()
		:: else ->
			do
			:: space_wq = true;
				ring_has_space();
				if
				:: done || !region_usable() -> break
				:: else -> !space_wq
				fi
			od;
			space_wq = false
		fi
	od
}

/* One access. If the region has gone, or the channel, it is for the VMM. */
inline access_run()
{
	atomic { ioregionfd_region_find() }
	if
	:: found ->
		mailbox_req_new();
		mailbox_req_run();
		mailbox_req_abandon();
		atomic { ioregionfd_region_put() }
	:: else
	fi
}

proctype vcpu()
{
	byte n;
	byte region;
	bool command, found, done, sent;

	do
	:: atomic {
		n < ACCESSES ->
		n++;
		/* If nobody closes the channel, the second region could wait for ever. */
		if
		:: region = 1
		:: closes -> region = 2
		fi;
		if
		:: command = true
		:: command = false
		fi
	   }
		access_run()
	:: else -> break
	od;
	over = true
}

/* A device task */

/* A look, and what it has found */
inline fetch()
{
	atomic {
		if
		:: state == PENDING ->
			state = FETCHED;
			got = true;
			posted = false
		:: state != PENDING && ring ->
			assert(ring == 2 || !drained);
			got = true;
			posted = true
		:: else -> got = false
		fi
	}
}

inline unblock()
{
	blocked = false;
	space_wq = false
}

inline complete_cmd()
{
	atomic {
		if
		:: !posted && state == FETCHED -> state = COMPLETE
		:: !posted && state != FETCHED	/* it has been given up */
		:: posted ->
			assert(ring);
			ring = 0;
#ifndef RETIRE_NOTHING
			posted_tail++
#endif
		fi
	}
	asleep = false;
	if
	:: blocked -> unblock()
	:: else
	fi
}

inline fetch_sleep()
{
	do
#ifdef VM_DEAD_LOOK_FIRST
	:: vm_dead -> break
	:: else ->
		queued = true;
		fetch();
		if
		:: got -> break
		:: else -> !queued
		fi
#else
	:: queued = true;
		fetch();
		if
		:: got || vm_dead -> break
		:: else -> !queued
		fi
#endif
	od;
	queued = false
}

inline native_release()
{
#ifdef RELEASE_USED_FIRST
	users = used;
#endif
	atomic {
		!vm_lock ->
#ifndef RELEASE_LISTED
		listed = false;
#endif
		released = true
	}
	native_wake_vcpus();
#ifdef RING_UNLOCKED
	ring_freed = true;
#else
	atomic {
		!ring_lock ->
		ring_freed = true
	}
#endif
	atomic { native_put() }
}

proctype task()
{
	bool got, posted;
#ifdef RELEASE_USED_FIRST
	byte users;
#endif

	do
	:: closes -> break
	:: fetch_sleep();
		if
		:: !got -> break
		:: got && !silent ->
			if
			:: complete_cmd()
			:: silent = true;
				if
				:: closes -> break
				:: else ->
					over;
					vm_dead;
					break
				fi
			fi
		fi
	od;
	native_release()
}

/* The VMM */

inline native_deassign()
{
	removed = true;
	synchronize_srcu_expedited();
#ifndef DEASSIGN_NO_WAKE
	native_wake_vcpus()
#endif
}

inline ioregionfd_deassign()
{
#ifndef DEASSIGN_IN_TREE
	in_tree = false;
#endif
	native_deassign();
	atomic {
#ifndef DEASSIGN_NO_PUT
		ioregionfd_region_put();
#endif
		deassigned = true
	}
}

inline ioregionfd_native_vm_destroy()
{
	atomic {
		!vm_lock ->
		vm_lock = true
	}
	if
	:: listed ->
		assert(refs > 0);
		vm_dead = true;
		wake_fetcher()
	:: else
	fi;
	vm_lock = false
}

inline kvm_ioregionfd_vm_destroy()
{
	ioregionfd_native_vm_destroy();
	atomic {
		if
		:: second -> ioregionfd_region_put()
		:: else
		fi
	}
}

proctype vmm()
{
	byte gone;
	bool second = true;
#ifdef RELEASE_USED_FIRST
	byte users = 1;
#endif

#ifdef HEAD_EARLY
	gone = posted_head;
	ioregionfd_deassign();
#else
	ioregionfd_deassign();
	gone = posted_head;
#endif
	atomic {
		posted_tail >= gone || silent || released ->
		drained = posted_tail >= gone;
		gone = 0
	}
	over;
	assert(state != PENDING);
	/* The second region may be removed, too, or goes with the VM. */
	if
	:: atomic {
		ioregionfd_region_put();
		second = false
	   }
	:: true
	fi;
	kvm_ioregionfd_vm_destroy();
	!refs
}

init {
	atomic {
		if
		:: closes = true
		:: closes = false
		fi;
		run vcpu();
		run task();
		run vmm()
	}
}
