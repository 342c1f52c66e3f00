// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs ioregionstat, which is in the same directory as this program, while a guest
 * makes known accesses, and compares. Needs -ljson-c.
 */
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <json-c/json.h>
#include <json-c/json_pointer.h>

#include "ioregionfd_harness.h"

#define TOOL		"ioregionstat"
#define MAX_ARGS	8

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define MANUAL		(MMIO_GPA + 0x2000)

/* Longer than any test: no output before the end. */
#define ONE_INTERVAL	"--interval=1000"

/* The running tool and its output so far. */
struct stat_tool {
	pid_t pid;
	FILE *out;
	json_object *docs;
};

/* Starts the tool with @args, with stdout and stderr to a pipe. */
static void tool_exec(struct stat_tool *tool, uid_t uid, const char *args[])
{
	char self[PATH_MAX] = "", path[PATH_MAX + sizeof(TOOL) + 1];
	int fds[2];

	TEST_ASSERT(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0, "readlink: %s",
		    strerror(errno));
	snprintf(path, sizeof(path), "%s/" TOOL, dirname(self));
	TEST_ASSERT(!pipe2(fds, O_CLOEXEC), "pipe: %s", strerror(errno));

	tool->docs = json_object_new_array();
	tool->out = fdopen(fds[0], "r");
	tool->pid = fork();
	TEST_ASSERT(tool->pid >= 0, "fork: %s", strerror(errno));
	if (!tool->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		/* Else the tool would hold the channels' other ends, and the VM. */
		if (close_range(STDERR_FILENO + 1, ~0U, 0))
			_exit(125);
		if (uid && setuid(uid))
			_exit(126);
		execv(path, (char **)args);
		_exit(127);
	}
	close(fds[1]);
}

/* Reads and keeps one more line. Returns false at the end. */
static bool tool_next(struct stat_tool *tool)
{
	json_object *doc;
	char *line = NULL;
	size_t size = 0;

	if (getline(&line, &size, tool->out) < 0) {
		free(line);
		return false;
	}
	doc = json_tokener_parse(line);
	TEST_ASSERT(doc, "not JSON: %s", line);
	json_object_array_add(tool->docs, doc);
	free(line);
	return true;
}

/* Starts the tool with JSON output, and returns when it counts. */
#define tool_start(tool, ...) \
	__tool_start(tool, (const char *[]){ TOOL, "--json", __VA_ARGS__, NULL })
static void __tool_start(struct stat_tool *tool, const char *args[])
{
	tool_exec(tool, 0, args);
	/* Its first interval began when it started to count. */
	TEST_ASSERT(tool_next(tool), "the tool does not start");
}

#define tool_expect_end(tool, status) __tool_expect_end(tool, status, __LINE__)
static void __tool_expect_end(struct stat_tool *tool, int status, int line)
{
	int got = -1, i;

	for (i = 0; i < HANG_SECONDS * 100; i++) {
		if (waitpid(tool->pid, &got, WNOHANG) == tool->pid)
			break;
		usleep(10000);
	}
	TEST_ASSERT(i < HANG_SECONDS * 100, "line %d: the tool does not end", line);
	TEST_ASSERT(WIFEXITED(got) && WEXITSTATUS(got) == status,
		    "line %d: the tool ended with wait status 0x%x", line, got);
}

/* Lets the tool print what it has and end. */
#define tool_stop(tool) __tool_stop(tool, SIGTERM, __LINE__)
static void __tool_stop(struct stat_tool *tool, int sig, int line)
{
	kill(tool->pid, sig);
	while (tool_next(tool))
		;
	__tool_expect_end(tool, 0, line);
	fclose(tool->out);
}

static unsigned int tool_nr_docs(struct stat_tool *tool)
{
	return json_object_array_length(tool->docs);
}

static json_object *tool_doc(struct stat_tool *tool, unsigned int i)
{
	return json_object_array_get_idx(tool->docs, i);
}

static json_object *get(json_object *object, const char *path, json_type type)
{
	json_object *value;

	TEST_ASSERT(!json_pointer_get(object, path, &value) && json_object_is_type(value, type),
		    "no %s of type %s in %s", path, json_type_to_name(type),
		    json_object_to_json_string(object));
	return value;
}

static uint64_t get_number(json_object *object, const char *path)
{
	return json_object_get_uint64(get(object, path, json_type_int));
}

/* What identifies a region. */
struct region_id {
	pid_t vm;
	const char *type;
	uint64_t base;
};

static struct region_id mmio(uint64_t base)
{
	return (struct region_id){ getpid(), "mmio", base };
}

static struct region_id pio(uint64_t base)
{
	return (struct region_id){ getpid(), "pio", base };
}

/* A document's entry for a region, or NULL. There must not be more than one. */
static json_object *find_region(json_object *doc, struct region_id id)
{
	json_object *regions = get(doc, "/regions", json_type_array), *region, *found = NULL;
	size_t i;

	for (i = 0; i < json_object_array_length(regions); i++) {
		region = json_object_array_get_idx(regions, i);
		if (get_number(region, "/vm") != id.vm || get_number(region, "/base") != id.base ||
		    strcmp(json_object_get_string(get(region, "/type", json_type_string)), id.type))
			continue;
		TEST_ASSERT(!found, "a region appears twice: %s", json_object_to_json_string(doc));
		found = region;
	}
	return found;
}

static uint64_t sum(struct stat_tool *tool, struct region_id id, const char *path)
{
	json_object *region;
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < tool_nr_docs(tool); i++) {
		region = find_region(tool_doc(tool, i), id);
		if (region)
			n += get_number(region, path);
	}
	return n;
}

/* The sum of @what in the histogram, for latencies of at least @ns. */
static uint64_t sum_latency(struct stat_tool *tool, struct region_id id, const char *path,
			    const char *what, uint64_t ns)
{
	json_object *region, *buckets, *bucket;
	unsigned int i, j;
	uint64_t n = 0;

	for (i = 0; i < tool_nr_docs(tool); i++) {
		region = find_region(tool_doc(tool, i), id);
		if (!region)
			continue;
		buckets = get(region, path, json_type_array);
		for (j = 0; j < json_object_array_length(buckets); j++) {
			bucket = json_object_array_get_idx(buckets, j);
			if (get_number(bucket, "/from_ns") >= ns)
				n += get_number(bucket, what);
		}
	}
	return n;
}

static uint64_t sum_not_counted(struct stat_tool *tool)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < tool_nr_docs(tool); i++)
		n += get_number(tool_doc(tool, i), "/not_counted");
	return n;
}

/* Checks that the last document has @nr regions. */
#define expect_regions(tool, nr) __expect_regions(tool, nr, __LINE__)
static void __expect_regions(struct stat_tool *tool, unsigned int nr, int line)
{
	json_object *doc = tool_doc(tool, tool_nr_docs(tool) - 1);

	TEST_ASSERT(json_object_array_length(get(doc, "/regions", json_type_array)) == nr,
		    "line %d: wanted %u regions, got %s", line, nr,
		    json_object_to_json_string(doc));
}

struct want {
	uint64_t reads;
	uint64_t writes;
	uint64_t in_place;	/* of the writes */
	uint64_t untimed;	/* of the reads */
	uint64_t hangup;
	uint64_t deassigned;
};

/* Checks that all documents add up to exactly this. */
#define expect_counts(tool, id, ...) \
	__expect_counts(tool, id, (struct want){ __VA_ARGS__ }, __LINE__)
static void __expect_counts(struct stat_tool *tool, struct region_id id, struct want want,
			    int line)
{
	const struct {
		const char *path;
		uint64_t want;
	} fields[] = {
		{ "/read/count", want.reads },
		{ "/read/in_place", 0 },
		{ "/read/untimed", want.untimed },
		{ "/write/count", want.writes },
		{ "/write/in_place", want.in_place },
		{ "/write/untimed", 0 },
		{ "/failed/hangup", want.hangup },
		{ "/failed/io", 0 },
		{ "/failed/protocol", 0 },
		{ "/failed/deassigned", want.deassigned },
		{ "/failed/no_mailbox", 0 },
		{ "/failed/other", 0 },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++)
		expect_field(line, fields[i].path, fields[i].want,
			     sum(tool, id, fields[i].path));
	expect_field(line, "latencies of reads", want.reads - want.untimed,
		     sum_latency(tool, id, "/read/latency", "/count", 0));
	expect_field(line, "latencies of writes", want.writes,
		     sum_latency(tool, id, "/write/latency", "/count", 0));
	expect_field(line, "latencies of reads in place", 0,
		     sum_latency(tool, id, "/read/latency", "/in_place", 0));
	expect_field(line, "latencies of writes in place", want.in_place,
		     sum_latency(tool, id, "/write/latency", "/in_place", 0));
}

FIXTURE(stat)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread thread;
	struct device dev;
	struct channel ch;
	struct stat_tool tool;
};

FIXTURE_SETUP(stat)
{
	if (access("/sys/kernel/btf/vmlinux", F_OK))
		SKIP(return, "the kernel has no BTF");

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	device_start(&self->dev, TR_SEQPACKET);
	region_add(self->vm, &self->dev.ch, SYNC, 0x1000, USER_DATA(0), 0);
	region_add(self->vm, &self->dev.ch, POSTED, 0x1000, USER_DATA(0x1000),
		   KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->dev.ch, PIO_BASE, 0x100, USER_DATA(0x2000), KVM_IOREGION_PIO);
	/* The test is the device task of this channel. */
	self->ch = channel_open(TR_SEQPACKET);
	region_add(self->vm, &self->ch, MANUAL, 0x1000, 0, 0);
	vcpu_thread_init(&self->thread, self->vcpus[0]);
}

FIXTURE_TEARDOWN(stat)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

static void op_reads(struct kvm_vcpu *vcpu, uint64_t addr, uint32_t count)
{
	op_add(vcpu, (struct guest_op){ OP_READ, 4, addr, .count = count });
}

static void op_writes(struct kvm_vcpu *vcpu, uint64_t addr, uint32_t count)
{
	op_add(vcpu, (struct guest_op){ OP_WRITE, 4, addr, .count = count });
}

static void op_ins(struct kvm_vcpu *vcpu, uint64_t port, uint32_t count)
{
	op_add(vcpu, (struct guest_op){ OP_IN, 2, port, .count = count });
}

TEST_F(stat, kinds)
{
	tool_start(&self->tool, "--interval=0.1");
	op_reads(self->vcpus[0], SYNC + 8, 3);
	op_writes(self->vcpus[0], SYNC, 2);
	op_writes(self->vcpus[0], POSTED + 0x10, 5);
	op_reads(self->vcpus[0], POSTED, 1);
	op_ins(self->vcpus[0], PIO_BASE + 4, 1);
	op_add(self->vcpus[0], (struct guest_op){
		.kind = OP_OUTS,
		.size = 1,
		.addr = PIO_BASE,
		.mem = vcpu_buf_gva(self->vcpus[0]),
		.count = 10,
	});
	run_done(self->vcpus[0]);
	tool_stop(&self->tool);

	/* The region without accesses does not show. */
	expect_regions(&self->tool, 3);
	expect_counts(&self->tool, mmio(SYNC), .reads = 3, .writes = 2);
	expect_counts(&self->tool, mmio(POSTED), .reads = 1, .writes = 5);
	expect_counts(&self->tool, pio(PIO_BASE), .reads = 1, .writes = 10);
	TEST_ASSERT_EQ(sum_not_counted(&self->tool), 0);
}

/* Nothing is lost or counted twice over many intervals. */
TEST_F(stat, intervals_add_up)
{
	int i;

	tool_start(&self->tool, "--interval=0.01");
	for (i = 0; i < 20; i++) {
		op_reads(self->vcpus[i & 1], SYNC, 50);
		op_writes(self->vcpus[i & 1], POSTED, 70);
		run_done(self->vcpus[i & 1]);
	}
	tool_stop(&self->tool);
	TEST_ASSERT(tool_nr_docs(&self->tool) > 10, "%u documents", tool_nr_docs(&self->tool));
	expect_counts(&self->tool, mmio(SYNC), .reads = 1000);
	expect_counts(&self->tool, mmio(POSTED), .writes = 1400);
	TEST_ASSERT_EQ(sum_not_counted(&self->tool), 0);
}

TEST_F(stat, latency)
{
	tool_start(&self->tool, "--interval=0.1");
	op_reads(self->vcpus[0], MANUAL, 1);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	usleep(300000);
	dev_send(&self->ch, 1);
	thread_join_done(&self->thread);
	tool_stop(&self->tool);

	expect_counts(&self->tool, mmio(MANUAL), .reads = 1);
	/* 268 to 537 ms is the right bucket; but the machine may have stalled. */
	TEST_ASSERT_EQ(sum_latency(&self->tool, mmio(MANUAL), "/read/latency", "/count",
				   1ul << 28), 1);
	TEST_ASSERT_EQ(sum_latency(&self->tool, mmio(MANUAL), "/read/latency", "/count",
				   HANG_SECONDS * 1000000000ul), 0);
}

/* A device task that does not respond shows while it does not. */
TEST_F(stat, waiting)
{
	json_object *region = NULL;

	tool_start(&self->tool, "--interval=0.05");
	op_reads(self->vcpus[0], MANUAL, 1);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	while (!region && tool_next(&self->tool))
		region = find_region(tool_doc(&self->tool, tool_nr_docs(&self->tool) - 1),
				     mmio(MANUAL));
	TEST_ASSERT(region, "the tool ended");
	TEST_ASSERT_EQ(get_number(region, "/waiting"), 1);
	TEST_ASSERT_EQ(get_number(region, "/read/count"), 0);

	dev_send(&self->ch, 1);
	thread_join_done(&self->thread);
	tool_stop(&self->tool);
	region = find_region(tool_doc(&self->tool, tool_nr_docs(&self->tool) - 1), mmio(MANUAL));
	TEST_ASSERT(region, "the region is gone");
	TEST_ASSERT_EQ(get_number(region, "/waiting"), 0);
	expect_counts(&self->tool, mmio(MANUAL), .reads = 1);
}

TEST_F(stat, failures)
{
	tool_start(&self->tool, "--interval=0.1");

	op_reads(self->vcpus[0], MANUAL, 1);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->thread);
	region_del(self->vm, MANUAL, 0x1000, 0);
	thread_join_exit(&self->thread);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);

	/* Retried with another socket, where it fails once more. */
	channel_close_kvm(&self->ch);
	channel_close_dev(&self->ch);
	self->ch = channel_open(TR_SEQPACKET);
	self->vcpus[0]->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	region_add(self->vm, &self->ch, MANUAL, 0x1000, 0, 0);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->thread);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	/* Retried at once. */
	self->vcpus[0]->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	thread_start(&self->thread);
	thread_join_exit(&self->thread);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);

	tool_stop(&self->tool);
	expect_regions(&self->tool, 1);
	expect_counts(&self->tool, mmio(MANUAL), .hangup = 2, .deassigned = 1);
}

/* Starts a process with a VM that makes some accesses. Returns its pid. */
static pid_t other_vm(void)
{
	struct kvm_vcpu *vcpu;
	struct device *dev;
	struct kvm_vm *vm;
	pid_t pid;
	int status;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		dev = calloc(1, sizeof(*dev));
		TEST_ASSERT(dev, "out of memory");
		vm = ioregion_vm_create(1, guest_script_main, &vcpu);
		device_start(dev, TR_SEQPACKET);
		region_add(vm, &dev->ch, SYNC, 0x1000, USER_DATA(0), 0);
		op_reads(vcpu, SYNC, 11);
		run_done(vcpu);
		_exit(0);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid && !status, "the other VM failed");
	return pid;
}

TEST_F(stat, vm_filter)
{
	struct stat_tool all = { }, none = { };
	struct region_id other = mmio(SYNC);
	char filter[32];

	snprintf(filter, sizeof(filter), "--vm=%d", getpid());
	tool_start(&self->tool, "--interval=0.1", filter);
	tool_start(&all, "--interval=0.1");
	tool_start(&none, "--interval=0.1", "--vm=1");

	op_reads(self->vcpus[0], SYNC, 5);
	run_done(self->vcpus[0]);
	other.vm = other_vm();

	tool_stop(&none);
	tool_stop(&all);
	tool_stop(&self->tool);
	expect_counts(&self->tool, mmio(SYNC), .reads = 5);
	expect_counts(&self->tool, other, .reads = 0);
	expect_counts(&all, mmio(SYNC), .reads = 5);
	expect_counts(&all, other, .reads = 11);
	expect_counts(&none, mmio(SYNC), .reads = 0);
	TEST_ASSERT_EQ(sum_not_counted(&self->tool), 0);
	TEST_ASSERT_EQ(sum_not_counted(&none), 0);
	expect_regions(&none, 0);
}

/* A VM that is gone makes room, once its counts have been shown. */
TEST_F(stat, gone_vm)
{
	struct region_id id = mmio(SYNC);
	int i;

	tool_start(&self->tool, "--interval=0.05", "--max=1");
	for (i = 0; i < 3; i++) {
		id.vm = other_vm();
		/* one document that has the VM, and one that no longer has it */
		while (!sum(&self->tool, id, "/read/count"))
			TEST_ASSERT(tool_next(&self->tool), "the tool ended");
		while (find_region(tool_doc(&self->tool, tool_nr_docs(&self->tool) - 1), id))
			TEST_ASSERT(tool_next(&self->tool), "the tool ended");
		expect_counts(&self->tool, id, .reads = 11);
	}
	tool_stop(&self->tool);
	TEST_ASSERT_EQ(sum_not_counted(&self->tool), 0);
}

TEST_F(stat, no_room)
{
	tool_start(&self->tool, "--interval=0.1", "--max=1");
	op_reads(self->vcpus[0], SYNC, 3);
	op_ins(self->vcpus[0], PIO_BASE, 2);
	op_writes(self->vcpus[0], POSTED, 4);
	run_done(self->vcpus[0]);
	/* The begin of this vCPU's commands cannot be recorded. */
	op_reads(self->vcpus[1], SYNC, 5);
	run_done(self->vcpus[1]);
	/* A failure counts as an end like any other. */
	op_reads(self->vcpus[0], MANUAL, 1);
	channel_close_dev(&self->ch);
	vcpu_run(self->vcpus[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	tool_stop(&self->tool);

	expect_regions(&self->tool, 1);
	expect_counts(&self->tool, mmio(SYNC), .reads = 8, .untimed = 5);
	TEST_ASSERT_EQ(sum_not_counted(&self->tool), 7);
}

/* Posted writes to a native channel complete inside the exit. */
TEST_F(stat, in_place)
{
	struct kvm_create_ioregionfd create = { .nr_mailboxes = 2, .nr_posted = 16 };
	struct channel ch = { };
	int i;

	ch.kvm_rd = __vm_ioctl(self->vm, KVM_CREATE_IOREGIONFD, &create);
	TEST_ASSERT(ch.kvm_rd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_IOREGIONFD, ch.kvm_rd));
	ch.kvm_wr = ch.kvm_rd;
	ch.dev_rd = ch.kvm_rd;
	region_add(self->vm, &ch, MMIO_GPA + 0x3000, 0x1000, 7, KVM_IOREGION_POSTED_WRITES);

	tool_start(&self->tool, "--interval=0.1");
	op_writes(self->vcpus[0], MMIO_GPA + 0x3000, 6);
	op_writes(self->vcpus[0], POSTED, 3);
	run_done(self->vcpus[0]);
	tool_stop(&self->tool);
	for (i = 0; i < 6; i++)
		expect_cmd(dev_recv(&ch), cmd_posted(4, 7, 0, i));
	expect_counts(&self->tool, mmio(MMIO_GPA + 0x3000), .writes = 6, .in_place = 6);
	expect_counts(&self->tool, mmio(POSTED), .writes = 3);
	region_del(self->vm, MMIO_GPA + 0x3000, 0x1000, 0);
	close(ch.kvm_rd);
}

TEST_F(stat, count_of_intervals)
{
	tool_start(&self->tool, "--interval=0.01", "--count=3");
	while (tool_next(&self->tool))
		;
	tool_expect_end(&self->tool, 0);
	TEST_ASSERT_EQ(tool_nr_docs(&self->tool), 3);
}

/* A signal ends the interval early, and its counts are shown. */
TEST_F(stat, signals)
{
	static const int signals[] = { SIGINT, SIGTERM };
	int i;

	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		tool_start(&self->tool, "--interval=4");
		op_reads(self->vcpus[0], SYNC, 5);
		run_done(self->vcpus[0]);
		__tool_stop(&self->tool, signals[i], __LINE__);
		TEST_ASSERT_EQ(tool_nr_docs(&self->tool), 2);
		TEST_ASSERT(get_number(tool_doc(&self->tool, 0), "/interval_ms") >= 4000 &&
			    get_number(tool_doc(&self->tool, 1), "/interval_ms") < 4000,
			    "the second interval is not shorter");
		expect_counts(&self->tool, mmio(SYNC), .reads = 5);
	}
}

/* The tool notices before the end of the interval. */
TEST_F(stat, nobody_reads)
{
	tool_exec(&self->tool, 0, (const char *[]){ TOOL, ONE_INTERVAL, NULL });
	usleep(100000);
	fclose(self->tool.out);
	tool_expect_end(&self->tool, 0);

	tool_start(&self->tool, "--interval=0.01");
	fclose(self->tool.out);
	tool_expect_end(&self->tool, 0);
}

/* Error messages. */
#define expect_line(...) __expect_line(__VA_ARGS__, __LINE__)
static void __expect_line(struct stat_tool *tool, const char *want, int line)
{
	char buf[512] = "";

	TEST_ASSERT(fgets(buf, sizeof(buf), tool->out) && strstr(buf, want),
		    "line %d: wanted %s, got %s", line, want, buf);
}

TEST_F(stat, without_privilege)
{
	tool_exec(&self->tool, 65534, (const char *[]){ TOOL, NULL });
	expect_line(&self->tool, "run as root");
	tool_expect_end(&self->tool, 1);
}

TEST_F(stat, bad_arguments)
{
	static const char * const bad[] = { "--interval=0", "--interval=1x", "--interval=nan",
					    "--count=0", "--count=-1", "--vm=", "--max=99999999999",
					    "1" };
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		tool_exec(&self->tool, 0, (const char *[]){ TOOL, bad[i], NULL });
		expect_line(&self->tool, TOOL ": ");
		tool_expect_end(&self->tool, 1);
		fclose(self->tool.out);
	}
}

/* The table has the same figures. */
TEST_F(stat, table)
{
	unsigned int vm, regions, histogram = 0, waiting, n;
	uint64_t base, reads, writes;
	char line[512], in_place[16], type[8];

	tool_exec(&self->tool, 0,
		  (const char *[]){ TOOL, "--interval=4", "--histogram", NULL });
	expect_line(&self->tool, " 0 regions");
	expect_line(&self->tool, "REGION");
	op_reads(self->vcpus[0], SYNC, 3);
	op_writes(self->vcpus[0], SYNC, 2);
	run_done(self->vcpus[0]);
	kill(self->tool.pid, SIGINT);

	TEST_ASSERT(fgets(line, sizeof(line), self->tool.out), "no table");
	TEST_ASSERT(sscanf(line, "%*s %u regions", &regions) == 1 && regions == 1,
		    "wrong number of regions: %s", line);
	expect_line(&self->tool, "REGION");
	TEST_ASSERT(fgets(line, sizeof(line), self->tool.out), "no region");
	TEST_ASSERT(sscanf(line, "%u %7s %lx %lu %lu %15s %*s %*s %u -", &vm, type, &base, &reads,
			   &writes, in_place, &waiting) == 7 &&
		    vm == getpid() && !strcmp(type, "mmio") && base == SYNC && reads == 3 &&
		    writes == 2 && !strcmp(in_place, "0.0%") && !waiting,
		    "not the region: %s", line);
	while (fgets(line, sizeof(line), self->tool.out)) {
		TEST_ASSERT(sscanf(line, "%*[ a-z]%*s .. %*s %u", &n) == 1,
			    "no histogram: %s", line);
		histogram += n;
	}
	TEST_ASSERT_EQ(histogram, 5);
	tool_expect_end(&self->tool, 0);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
