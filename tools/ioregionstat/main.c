// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionstat: shows live, by VM and region, what ioregionfd does.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "counts.h"
#include "ioregionstat.skel.h"

#define NAME	"ioregionstat"

struct options {
	__u64 interval;		/* ns */
	unsigned int count;	/* of intervals, 0: no end */
	unsigned int vm;
	unsigned int max;
	bool histograms;
	bool json;
};

static void usage(FILE *f)
{
	fputs("Usage: " NAME " [OPTION]...\n"
	      "Shows live the guest accesses that go to device tasks by ioregionfd.\n\n"
	      "  -i, --interval=SECONDS  time between two tables (1)\n"
	      "  -n, --count=N           stop after N intervals\n"
	      "      --vm=PID            only VMs that this process made\n"
	      "  -H, --histogram         add latency histograms\n"
	      "      --json              a line of JSON for each interval, with histograms\n"
	      "  -m, --max=N             room for N regions and N vCPUs (4096)\n"
	      "  -h, --help              print this text\n\n"
	      "All figures are those of the last interval:\n"
	      "  VM        pid of the process that made the VM\n"
	      "  REGION    mmio or pio, and its first address\n"
	      "  READS, WRITES  how many completed\n"
	      "  IN PLACE  the share of them that completed without the vCPU going to sleep\n"
	      "  50% <, 99% <  that share of them took less than this\n"
	      "  WAITING   vCPUs that wait for a response now\n"
	      "  FAILED    how many failed, by reason\n"
	      "A region is shown from its first access until its VM is gone. Two VMs made by the\n"
	      "same thread are shown as one.\n\n"
	      "In JSON, read and write have a count, and in_place says how many of it completed\n"
	      "in place. A latency bucket counts those from from_ns up to twice that; untimed\n"
	      "counts those whose start was not seen. not_counted, beside the regions, counts\n"
	      "accesses to regions beyond --max and events that the kernel skipped. The sum of\n"
	      "all lines is what happened from start to end.\n\n"
	      "Needs root, a kernel with BPF and BTF, and tracefs.\n", f);
}

static unsigned int number(const char *text, const char *what)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || !n || n > INT_MAX)
		errx(1, "%s is not a %s", text, what);
	return n;
}

static __u64 interval(const char *text)
{
	double s;
	char *end;

	s = strtod(text, &end);
	if (end == text || *end || !(s >= 0.001 && s <= 1e9))
		errx(1, "%s is not a number of seconds of at least 0.001", text);
	return s * NS_PER_SEC;
}

static struct options parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'n' },
		{ "vm", required_argument, NULL, 'v' },
		{ "histogram", no_argument, NULL, 'H' },
		{ "json", no_argument, NULL, 'j' },
		{ "max", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct options o = { .interval = NS_PER_SEC, .max = 4096 };
	int c;

	while ((c = getopt_long(argc, argv, "i:n:Hm:h", longs, NULL)) >= 0) {
		switch (c) {
		case 'i':
			o.interval = interval(optarg);
			break;
		case 'n':
			o.count = number(optarg, "number of intervals");
			break;
		case 'v':
			o.vm = number(optarg, "pid");
			break;
		case 'H':
			o.histograms = true;
			break;
		case 'j':
			o.json = true;
			break;
		case 'm':
			o.max = number(optarg, "number of regions");
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind < argc)
		errx(1, "unexpected argument %s, see --help", argv[optind]);
	return o;
}

/* Whether BPF can be used at all: loads the smallest program of our type. */
static void require_bpf(void)
{
	const struct bpf_insn end[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, NULL, "GPL", end, 2, NULL);

	if (fd >= 0)
		close(fd);
	else if (fd == -EPERM)
		errx(1, "not allowed to use BPF: run as root");
	else
		errx(1, "this kernel has no BPF for tracepoints (CONFIG_BPF_EVENTS): %s",
		     strerror(-fd));
}

static bool has_events(const struct btf *btf)
{
	return btf__find_by_name_kind(btf, "trace_event_raw_kvm_ioregionfd_command",
				      BTF_KIND_STRUCT) >= 0;
}

/* Whether KVM has our events, and BTF to tell us what they look like. */
static void require_events(void)
{
	struct btf *kernel, *kvm;
	bool found;

	if (access("/sys/kernel/btf/vmlinux", R_OK))
		errx(1, "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
	if (access("/sys/module/kvm", F_OK))
		errx(1, "kvm.ko is not loaded");
	kernel = btf__load_vmlinux_btf();
	if (!kernel)
		err(1, "cannot read the kernel's BTF");
	found = has_events(kernel);
	/* Only a loadable module has a state. */
	if (!found && !access("/sys/module/kvm/initstate", F_OK)) {
		if (access("/sys/kernel/btf/kvm", R_OK))
			errx(1, "kvm.ko has no BTF, or BTF of another kernel: see dmesg");
		kvm = btf__load_module_btf("kvm", kernel);
		if (!kvm)
			err(1, "cannot read kvm.ko's BTF");
		found = has_events(kvm);
		btf__free(kvm);
	}
	btf__free(kernel);
	if (!found)
		errx(1, "this KVM has no ioregionfd (CONFIG_KVM_IOREGIONFD)");
}

static struct ioregionstat_bpf *start(const struct options *o)
{
	struct ioregionstat_bpf *bpf = ioregionstat_bpf__open();
	int r;

	if (!bpf)
		err(1, "cannot open the BPF program");
	bpf->bss->only_vm = o->vm;
	r = bpf_map__set_max_entries(bpf->maps.regions, o->max) ?:
	    bpf_map__set_max_entries(bpf->maps.vcpus, o->max) ?:
	    ioregionstat_bpf__load(bpf);
	if (r)
		errx(1, "cannot load the BPF program: %s", strerror(-r));
	r = ioregionstat_bpf__attach(bpf);
	if (r == -ENOENT)
		errx(1, "cannot find the tracepoints: is tracefs mounted at /sys/kernel/tracing?");
	if (r)
		errx(1, "cannot attach to the tracepoints: %s", strerror(-r));
	return bpf;
}

/* How often the kernel skipped a program because it was running another one. */
static __u64 prog_misses(const struct bpf_program *prog)
{
	struct bpf_prog_info info = { };
	__u32 size = sizeof(info);
	int r = bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &size);

	if (r)
		errx(1, "cannot ask for what was skipped: %s", strerror(-r));
	return info.recursion_misses;
}

static void collect(struct counts *counts, const struct ioregionstat_bpf *bpf)
{
	static __u64 before;
	__u64 all = __atomic_load_n(&bpf->bss->no_room, __ATOMIC_RELAXED) +
		    prog_misses(bpf->progs.on_complete) + prog_misses(bpf->progs.on_fail);

	counts->not_counted = all - before;
	before = all;
	counts_collect(counts, bpf_map__fd(bpf->maps.regions), bpf_map__fd(bpf->maps.vcpus));
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* Returns false if it was cut short: by a signal, or because nobody reads stdout. */
static bool wait_until(__u64 end, int signals)
{
	struct pollfd fds[] = {
		{ .fd = STDOUT_FILENO },
		{ .fd = signals, .events = POLLIN },
	};
	struct timespec left;
	__u64 now;
	int r;

	while ((now = now_ns()) < end) {
		left.tv_sec = (end - now) / NS_PER_SEC;
		left.tv_nsec = (end - now) % NS_PER_SEC;
		r = ppoll(fds, 2, &left, NULL);
		if (r > 0)
			return false;
		if (r < 0 && errno != EINTR)
			err(1, "cannot wait");
	}
	return true;
}

/* Returns false if nobody reads it any more. */
static bool print(const struct counts *counts, const struct options *o)
{
	if (o->json)
		json_print(counts);
	else
		table_print(counts, o->histograms);
	if (!fflush(stdout) && !ferror(stdout))
		return true;
	if (errno != EPIPE)
		err(1, "cannot write");
	return false;
}

static void run(struct ioregionstat_bpf *bpf, const struct options *o, int signals)
{
	struct counts counts = { };
	__u64 begin = now_ns(), end;
	unsigned int n = 0;
	bool more;

	do {
		n++;
		more = wait_until(begin + o->interval, signals) && n != o->count;
		/* Then the last interval shows everything that was counted. */
		if (!more)
			ioregionstat_bpf__detach(bpf);
		end = now_ns();
		counts.ns = end - begin;
		begin = end;
		collect(&counts, bpf);
		more &= print(&counts, o);
	} while (more);
	counts_free(&counts);
}

/* Returns a descriptor that SIGINT and SIGTERM make readable. They do nothing else. */
static int catch_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL))
		err(1, "cannot catch signals");
	return fd;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct ioregionstat_bpf *bpf;

	/* Otherwise the next file that is opened would be used as stdout. */
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
		errx(1, "stdout is closed");
	/* If nobody reads stdout any more, the write fails instead. */
	signal(SIGPIPE, SIG_IGN);

	require_bpf();
	require_events();
	bpf = start(&o);
	run(bpf, &o, catch_signals());
	ioregionstat_bpf__destroy(bpf);
	return 0;
}
