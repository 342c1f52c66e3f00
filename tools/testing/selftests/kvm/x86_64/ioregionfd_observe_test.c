// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an operator can see: the vCPUs' statistics and the tracepoints.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "ioregionfd_harness.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

FIXTURE(stats)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct device dev;
};

FIXTURE_SETUP(stats)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	device_start(&self->dev, TR_SEQPACKET);
	self->ch = channel_open(TR_SEQPACKET);
	region_add(self->vm, &self->dev.ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->dev.ch, POSTED, 0x1000, POSTED_DATA,
		   KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->dev.ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	/* The test is the device task of this channel. */
	region_add(self->vm, &self->ch, MMIO_GPA + 0x2000, 0x1000, 0, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(stats)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

#define expect_stats(...) __expect_stats(__VA_ARGS__, __LINE__)
static void __expect_stats(struct kvm_vcpu *vcpu, uint64_t submit, uint64_t complete, uint64_t fail,
			   int line)
{
	uint64_t s = vcpu_stat(vcpu, "ioregionfd_submit");
	uint64_t c = vcpu_stat(vcpu, "ioregionfd_complete");
	uint64_t f = vcpu_stat(vcpu, "ioregionfd_fail");

	TEST_ASSERT(s == submit && c == complete && f == fail,
		    "line %d: wanted submit %ld complete %ld fail %ld, got %ld, %ld, %ld",
		    line, submit, complete, fail, s, c, f);
}

TEST_F(stats, each_command_counts)
{
	expect_stats(self->vcpus[0], 0, 0, 0);
	op_read(self->vcpus[0], 8, SYNC);
	op_write(self->vcpus[0], 1, SYNC, 1);
	op_write(self->vcpus[0], 4, POSTED, 1);
	op_in(self->vcpus[0], 2, PIO_BASE);
	op_out(self->vcpus[0], 2, PIO_BASE, 3);
	run_done(self->vcpus[0]);
	expect_stats(self->vcpus[0], 5, 5, 0);

	/*
	 * A string instruction counts once for each element, a split access once for
	 * each fragment.
	 */
	op_add(self->vcpus[0], (struct guest_op){
		.kind = OP_INS,
		.size = 1,
		.addr = PIO_BASE,
		.mem = vcpu_buf_gva(self->vcpus[0]),
		.count = 10,
	});
	op_read(self->vcpus[0], 8, SYNC + 0x1000 - 3);
	run_done(self->vcpus[0]);
	expect_stats(self->vcpus[0], 19, 19, 0);
	expect_stats(self->vcpus[1], 0, 0, 0);
}

TEST_F(stats, only_commands_count)
{
	/* The end of the script goes to the VMM, as this access does. */
	op_write(self->vcpus[0], 4, MMIO_GPA + 0x3000, 1);
	vcpu_run(self->vcpus[0]);
	expect_mmio(self->vcpus[0], MMIO_GPA + 0x3000, 4, true, 1);
	run_done(self->vcpus[0]);
	expect_stats(self->vcpus[0], 0, 0, 0);
}

TEST_F(stats, interrupted_command_counts_once)
{
	struct vcpu_thread *thread = &self->threads[0];

	op_read(self->vcpus[0], 4, MMIO_GPA + 0x2000);
	thread_start(thread);
	dev_recv(&self->ch);
	thread_interrupt(thread);
	expect_stats(self->vcpus[0], 1, 0, 0);
	thread_start(thread);
	thread_interrupt(thread);
	dev_send(&self->ch, 1);
	thread_start(thread);
	thread_join_done(thread);
	expect_stats(self->vcpus[0], 1, 1, 0);
}

/* Whoever completes it. */
TEST_F(stats, command_counts_for_its_vcpu)
{
	op_read(self->vcpus[0], 4, MMIO_GPA + 0x2000);
	op_read(self->vcpus[1], 4, MMIO_GPA + 0x2000);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	dev_send(&self->ch, 1);
	dev_recv(&self->ch);
	dev_send(&self->ch, 2);
	thread_join_done(&self->threads[1]);
	expect_stats(self->vcpus[0], 1, 0, 0);
	expect_stats(self->vcpus[1], 1, 1, 0);
	thread_start(&self->threads[0]);
	thread_join_done(&self->threads[0]);
	expect_stats(self->vcpus[0], 1, 1, 0);
}

TEST_F(stats, failed_command_counts)
{
	op_read(self->vcpus[0], 4, MMIO_GPA + 0x2000);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	expect_stats(self->vcpus[0], 1, 0, 1);

	/* An access that the VMM carries out itself is not a command. */
	self->vcpus[0]->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run_done(self->vcpus[0]);
	expect_stats(self->vcpus[0], 1, 0, 1);
}

TEST_F(stats, deassigned_command_counts)
{
	op_read(self->vcpus[0], 4, MMIO_GPA + 0x2000);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->threads[0]);
	region_del(self->vm, MMIO_GPA + 0x2000, 0x1000, 0);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	expect_stats(self->vcpus[0], 1, 0, 1);
}

/* The sums are right after many commands of many vCPUs. */
TEST_F(stats, storm)
{
	struct guest_op op = { OP_WRITE, 4, SYNC };
	int i;

	op.count = 500;
	for (i = 0; i < 2; i++) {
		op_add(self->vcpus[i], op);
		thread_start_until_exit(&self->threads[i]);
	}
	for (i = 0; i < 200; i++) {
		pthread_kill(self->threads[i & 1].thread, SIGUSR1);
		usleep(200);
	}
	for (i = 0; i < 2; i++) {
		thread_join_done(&self->threads[i]);
		expect_stats(self->vcpus[i], 500, 500, 0);
	}
	expect_nr(&self->dev, 1000);
}

/*
 * The tracepoints, in a trace instance of their own.
 */
#define TRACEFS		"/sys/kernel/tracing"
#define INSTANCE	TRACEFS "/instances/ioregionfd_test"

FIXTURE(trace)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

static void trace_write(const char *file, const char *text)
{
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	TEST_ASSERT(fd >= 0, "cannot open %s", path);
	n = write(fd, text, strlen(text));
	TEST_ASSERT(n == strlen(text), "cannot write %s", path);
	close(fd);
}

FIXTURE_SETUP(trace)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open(TR_SEQPACKET);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	vcpu_thread_init(&self->thread, self->vcpu);

	if (access(TRACEFS "/instances", F_OK) && mount("tracefs", TRACEFS, "tracefs", 0, NULL))
		SKIP(return, "no tracefs");
	mkdir(INSTANCE, 0700);
	trace_write("events/kvm/kvm_ioregionfd_submit/enable", "1");
	trace_write("events/kvm/kvm_ioregionfd_complete/enable", "1");
	trace_write("events/kvm/kvm_ioregionfd_fail/enable", "1");
	trace_write("trace", "");
}

FIXTURE_TEARDOWN(trace)
{
	kvm_vm_free(self->vm);
	trace_write("events/kvm/enable", "0");
	TEST_ASSERT(!rmdir(INSTANCE), "cannot remove the tracing instance");
}

/* The region and the access, which all three tracepoints show. */
#define TRACE_SYNC	"vcpu 0 user_data 0xfeedfacecafe0000 mmio "
#define TRACE_POSTED	"vcpu 0 user_data 0xfeedfacecafe1000 mmio "
#define TRACE_PIO	"vcpu 0 user_data 0xfeedfacecafe2000 pio "
#define TRACE_HANGUP	" reason hangup progress 1 error 0"
#define IN_SYNC		" region 0xc0000000"
#define IN_POSTED	" region 0xc0001000"
#define IN_PIO		" region 0x2000"

/* Checks that exactly these events have come so far. */
#define expect_trace(...) __expect_trace((const char *[]){ __VA_ARGS__, NULL }, __LINE__)
static void __expect_trace(const char *want[], int line)
{
	FILE *f = fopen(INSTANCE "/trace", "r");
	char buf[512], line_wanted[512], *event;

	TEST_ASSERT(f, "cannot open the trace");
	while (fgets(buf, sizeof(buf), f)) {
		event = strstr(buf, "kvm_ioregionfd_");
		if (buf[0] == '#' || !event)
			continue;
		event += strlen("kvm_ioregionfd_");
		buf[strcspn(buf, "\n")] = 0;
		TEST_ASSERT(*want, "line %d: unexpected event: %s", line, event);
		snprintf(line_wanted, sizeof(line_wanted), "%s vm %d%s", *want, getpid(),
			 strncmp(*want, "complete", 8) ? "" : " in_place 0 status done");
		TEST_ASSERT(!strcmp(event, line_wanted), "line %d: wanted\n  %s\ngot\n  %s", line,
			    line_wanted, event);
		want++;
	}
	TEST_ASSERT(!*want, "line %d: %s did not come", line, *want);
	fclose(f);
	trace_write("trace", "");
}

TEST_F(trace, commands)
{
	op_read(self->vcpu, 4, SYNC + 8);
	op_out(self->vcpu, 2, PIO_BASE + 4, 0xabcd);
	op_write(self->vcpu, 4, POSTED, 0x1122);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0xffffffff12345678);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0);
	dev_recv(&self->ch);
	thread_join_done(&self->thread);
	expect_trace("submit: " TRACE_SYNC "read addr 0xc0000008 size 4 data 0x0" IN_SYNC,
		     "complete: " TRACE_SYNC "read addr 0xc0000008 size 4 data 0x12345678" IN_SYNC,
		     "submit: " TRACE_PIO "write addr 0x2004 size 2 data 0xabcd" IN_PIO,
		     "complete: " TRACE_PIO "write addr 0x2004 size 2 data 0xabcd" IN_PIO,
		     "submit: " TRACE_POSTED "write addr 0xc0001000 size 4 data 0x1122" IN_POSTED,
		     "complete: " TRACE_POSTED "write addr 0xc0001000 size 4 data 0x1122"
		     IN_POSTED);
}

TEST_F(trace, interrupted_command)
{
	op_in(self->vcpu, 1, PIO_BASE);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_interrupt(&self->thread);
	expect_trace("submit: " TRACE_PIO "read addr 0x2000 size 1 data 0x0" IN_PIO);
	thread_start(&self->thread);
	thread_interrupt(&self->thread);
	dev_send(&self->ch, 0x42);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	expect_trace("complete: " TRACE_PIO "read addr 0x2000 size 1 data 0x42" IN_PIO);
}

TEST_F(trace, failed_command)
{
	op_write(self->vcpu, 1, SYNC + 3, 0x99);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->thread);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_IOREGIONFD_FAILURE);
	expect_trace("submit: " TRACE_SYNC "write addr 0xc0000003 size 1 data 0x99" IN_SYNC,
		     "fail: " TRACE_SYNC "write addr 0xc0000003 size 1" TRACE_HANGUP IN_SYNC);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
