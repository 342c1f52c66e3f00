// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small virtual machine monitor, whose serial port is another process.
 */
#include "acpi.h"
#include "bench.h"
#include "boot.h"
#include "control.h"
#include "run.h"
#include "supervise.h"
#include "uart.h"
#include "vm.h"
#include "vmm_nvme.h"
#include "vmm_vhost.h"
#include "vmm_virtio.h"

#include <err.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <linux/virtio_ids.h>

#define DEFAULT_CMDLINE	"console=ttyS0 panic=-1"
#define DEFAULT_RAM_MB	256
#define BENCH_RAM_MB	2
#define MAX_CRASHES	100000

/* Exit status; EXIT_FAILURE (1) for everything else */
#define EXIT_USAGE	2
#define EXIT_RESET	3
#define EXIT_STOPPED	4

struct options {
	const char *kernel, *initrd, *cmdline, *stats, *uart_task;
	enum uart_path uart;
	unsigned long ram_mb, cpus;
	uint32_t bench;
	const char *blk[MAX_VIRTIO_MMIO], *control, *tell;
	unsigned int nr_blk;
	const char *nvme[MAX_NVME];
	unsigned int nr_nvme;
	const char *net[MAX_VIRTIO_MMIO];
	unsigned int nr_net;
	uint32_t cid;		/* 0: no vsock */
	uint64_t features;
	uint32_t wait;		/* device_args.flags */
	enum vmm_dispatch dispatch;
	struct crash_limit crash_limit;
	char **command;		/* for --tell */
	unsigned int nr_words;
};

static const char usage[] =
"Usage: vmm [options] --kernel=BZIMAGE\n"
"       vmm [options] --bench=N\n"
"       vmm --tell=SOCKET COMMAND...\n"
"Boot Linux in a virtual machine whose serial port is stdin and stdout here. The\n"
"UART is emulated by another process, uart-task.\n"
"\n"
"  --kernel=FILE     the kernel to boot, a bzImage\n"
"  --initrd=FILE     its initial RAM disk\n"
"  --cmdline=TEXT    its command line, default: " DEFAULT_CMDLINE "\n"
"  --memory=MB       how much memory the guest has, default: 256\n"
"  --cpus=N          how many CPUs it has, default: 1\n"
"  --uart=PATH       how accesses to the UART reach uart-task:\n"
"                      ioregionfd  kvm.ko sends them on a native channel (default)\n"
"                      socket      kvm.ko sends them on a socket\n"
"                      forward     they exit to this process, which forwards\n"
"                                  them on a socket\n"
"  --uart-task=FILE  the device task, default: uart-task in the directory of vmm\n"
"  --blk=FILE        a disk, emulated by another process, virtio-blk, which is\n"
"                    started anew if it dies. May be given several times; the\n"
"                    devices are blk0, blk1, ... FILE,ro: the guest cannot write\n"
"  --nvme=FILE       the same as an NVMe controller with a queue for each CPU, emulated\n"
"                    by nvme: nvme0, nvme1, ...\n"
"  --net=TAP[,MAC]   a network device that sends and receives through the tap device TAP.\n"
"                    If there is none it is made, and is down and has no address. Without\n"
"                    MAC the guest has another one each time. The registers are emulated by\n"
"                    virtio-net, the rings by the kernel (vhost): net0, net1, ...\n"
"  --vsock=CID       the same for sockets of the family AF_VSOCK, by virtio-vsock: vsock0.\n"
"                    The guest's address is CID\n"
"  --features=LIST   what the rings of virtio devices can do besides: packed,\n"
"                    in_order, or both with a comma between them\n"
"  --dispatch=PATH   how accesses to such devices reach the processes: as --uart\n"
"  --wait=HOW        what such a process does until the next access: sleep, poll, which\n"
"                    takes a CPU of its own, or adaptive, which polls for a while and\n"
"                    then sleeps (default); on a socket it always sleeps\n"
"  --crash-limit=N/S a device fails if it dies N times within S seconds, and the\n"
"                    VM goes on without it; default: 5/10\n"
"  --control=SOCKET  listen there for commands, see --tell\n"
"  --bench=N         instead of booting, let a guest read the UART's line\n"
"                    status N times, and print the nanoseconds for each read\n"
"  --stats=FILE      write counters to FILE, one name=value on each line\n"
"  --help            print this text\n"
"\n"
"--tell=SOCKET sends a command to the VMM with this --control, prints the response,\n"
"and exits with 0 if that is \"ok\":\n"
"  status                  a line for each device\n"
"  kill DEVICE             let its process die, and be started anew\n"
"  upgrade DEVICE BINARY   go on with this program\n"
"\n"
"Exit status: 0 if the guest powered itself off (or the benchmark is done),\n"
"1 if something failed, 2 for wrong options, 3 if the guest asked for a reset\n"
"or crashed, 4 if SIGINT or SIGTERM stopped the VMM.\n";

static noreturn void bad_usage(const char *what)
{
	warnx("%s; see vmm --help", what);
	exit(EXIT_USAGE);
}

static unsigned long parse_number(const char *text, unsigned long min,
				  unsigned long max, const char *name)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || value < min || value > max) {
		warnx("%s must be a number from %lu to %lu", name, min, max);
		exit(EXIT_USAGE);
	}
	return value;
}

/* Device tasks are installed beside the VMM. */
static const char *beside_vmm(const char *name)
{
	char self[PATH_MAX], *path;
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		err(EXIT_FAILURE, "cannot read /proc/self/exe");
	self[n] = '\0';
	if (asprintf(&path, "%s/%s", dirname(self), name) < 0)
		err(EXIT_FAILURE, "asprintf");
	return path;
}

static void parse_crash_limit(struct crash_limit *limit, const char *text)
{
	char end;

	if (sscanf(text, "%u/%u%c", &limit->deaths, &limit->seconds, &end) != 2 ||
	    !limit->deaths || limit->deaths > MAX_CRASHES)
		bad_usage("--crash-limit must be N/S, such as 5/10");
}

static enum vmm_dispatch parse_dispatch(const char *text)
{
	if (!strcmp(text, "ioregionfd"))
		return VMM_DISPATCH_IOREGIONFD;
	if (!strcmp(text, "socket"))
		return VMM_DISPATCH_SOCKET;
	if (!strcmp(text, "forward"))
		return VMM_DISPATCH_FORWARD;
	bad_usage("--dispatch must be ioregionfd, socket or forward");
}

static uint32_t parse_wait(const char *text)
{
	if (!strcmp(text, "sleep"))
		return DEVICE_SLEEP;
	if (!strcmp(text, "poll"))
		return DEVICE_POLL;
	if (!strcmp(text, "adaptive"))
		return 0;
	bad_usage("--wait must be sleep, poll or adaptive");
}

static unsigned int nr_virtio(const struct options *options)
{
	return options->nr_blk + options->nr_net + !!options->cid;
}

static void check_room(const struct options *options)
{
	if (nr_virtio(options) == MAX_VIRTIO_MMIO)
		bad_usage("there are too many devices");
}

static void add_blk(struct options *options, const char *file)
{
	check_room(options);
	options->blk[options->nr_blk++] = file;
}

static void add_nvme(struct options *options, const char *file)
{
	if (options->nr_nvme == MAX_NVME)
		bad_usage("there are too many devices");
	options->nvme[options->nr_nvme++] = file;
}

static void add_net(struct options *options, const char *tap)
{
	check_room(options);
	options->net[options->nr_net++] = tap;
}

static void add_vsock(struct options *options, const char *cid)
{
	if (options->cid)
		bad_usage("a guest has one CID");
	check_room(options);
	/* The others are those of hosts, or have a meaning of their own. */
	options->cid = parse_number(cid, 3, UINT32_MAX - 1, "--vsock");
}

/* The options of device processes. False: it is none of them. */
static bool parse_device_option(struct options *options, int c)
{
	const char *unknown;

	switch (c) {
	case 'B':
		add_blk(options, optarg);
		return true;
	case 'N':
		add_nvme(options, optarg);
		return true;
	case 'E':
		add_net(options, optarg);
		return true;
	case 'V':
		add_vsock(options, optarg);
		return true;
	case 'F':
		unknown = vmm_virtio_features(optarg, &options->features);
		if (unknown)
			bad_usage("--features knows packed and in_order");
		return true;
	case 'D':
		options->dispatch = parse_dispatch(optarg);
		return true;
	case 'W':
		options->wait = parse_wait(optarg);
		return true;
	case 'L':
		parse_crash_limit(&options->crash_limit, optarg);
		return true;
	case 'C':
		options->control = optarg;
		return true;
	case 'T':
		options->tell = optarg;
		return true;
	}
	return false;
}

static void parse_options(struct options *options, int argc, char **argv)
{
	static const struct option table[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "cmdline", required_argument, NULL, 'c' },
		{ "memory", required_argument, NULL, 'm' },
		{ "cpus", required_argument, NULL, 'n' },
		{ "uart", required_argument, NULL, 'u' },
		{ "uart-task", required_argument, NULL, 't' },
		{ "blk", required_argument, NULL, 'B' },
		{ "nvme", required_argument, NULL, 'N' },
		{ "net", required_argument, NULL, 'E' },
		{ "vsock", required_argument, NULL, 'V' },
		{ "features", required_argument, NULL, 'F' },
		{ "dispatch", required_argument, NULL, 'D' },
		{ "wait", required_argument, NULL, 'W' },
		{ "crash-limit", required_argument, NULL, 'L' },
		{ "control", required_argument, NULL, 'C' },
		{ "tell", required_argument, NULL, 'T' },
		{ "bench", required_argument, NULL, 'b' },
		{ "stats", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	memset(options, 0, sizeof(*options));
	options->cmdline = DEFAULT_CMDLINE;
	options->ram_mb = DEFAULT_RAM_MB;
	options->cpus = 1;
	options->features = vmm_virtio_default_features;
	options->crash_limit = (struct crash_limit) { 5, 10 };
	options->uart_task = beside_vmm("uart-task");

	/* '+': what comes after the first word that is no option is a command for --tell. */
	while ((c = getopt_long(argc, argv, "+", table, NULL)) != -1) {
		if (parse_device_option(options, c))
			continue;
		switch (c) {
		case 'k':
			options->kernel = optarg;
			break;
		case 'i':
			options->initrd = optarg;
			break;
		case 'c':
			options->cmdline = optarg;
			break;
		case 'm':
			options->ram_mb = parse_number(optarg, RAM_MIN_MB,
						       RAM_MAX_MB, "--memory");
			break;
		case 'n':
			options->cpus = parse_number(optarg, 1, MAX_VCPUS, "--cpus");
			break;
		case 'u':
			if (!strcmp(optarg, "ioregionfd"))
				options->uart = UART_IOREGIONFD;
			else if (!strcmp(optarg, "socket"))
				options->uart = UART_SOCKET;
			else if (!strcmp(optarg, "forward"))
				options->uart = UART_FORWARD;
			else
				bad_usage("--uart must be ioregionfd, socket or forward");
			break;
		case 't':
			options->uart_task = optarg;
			break;
		case 'b':
			options->bench = parse_number(optarg, 1, UINT32_MAX,
						      "--bench");
			break;
		case 's':
			options->stats = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		default:
			exit(EXIT_USAGE);
		}
	}
	if (options->tell) {
		options->command = argv + optind;
		options->nr_words = argc - optind;
		if (!options->nr_words)
			bad_usage("--tell needs a command");
		return;
	}
	if (optind < argc)
		bad_usage("too many arguments");
	if (!options->kernel == !options->bench)
		bad_usage("give either --kernel or --bench");
}

static struct termios saved_terminal;

static void restore_terminal(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

/*
 * If stdin is a terminal: every key goes to the guest at once, and the guest
 * has to echo it. Ctrl-C still ends the VMM.
 */
static void set_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_terminal))
		return;
	raw = saved_terminal;
	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_iflag &= ~ICRNL;
	if (!tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		atexit(restore_terminal);
}

static int exit_status(enum run_end end)
{
	switch (end) {
	case RUN_POWEROFF:
		return EXIT_SUCCESS;
	case RUN_RESET:
		warnx("the guest asked for a reset");
		return EXIT_RESET;
	case RUN_STOPPED:
		warnx("stopped by a signal");
		return EXIT_STOPPED;
	default:
		return EXIT_FAILURE;
	}
}

/* All devices: those with virtio-mmio first, whose number says where they are. */
struct devices {
	struct vmm_device devs[MAX_VIRTIO_MMIO + MAX_NVME];
	unsigned int nr;
	struct vmm_pci pci;
	struct vmm_pci_function nvme[MAX_NVME];
};

static struct vmm_device *add_device(struct devices *devices, const char *kind, unsigned int n,
				     const char *program, uint32_t wait)
{
	struct vmm_device *dev = &devices->devs[devices->nr];

	dev->number = devices->nr++;
	dev->program = beside_vmm(program);
	if (access(dev->program, X_OK))
		err(EXIT_FAILURE, "cannot execute %s", dev->program);
	snprintf(dev->name, sizeof(dev->name), "%s%u", kind, n);
	snprintf(dev->args.serial, sizeof(dev->args.serial), "%s%u", kind, n);
	dev->args.flags = wait;
	return dev;
}

static struct vmm_device *add_virtio(struct devices *devices, const struct options *options,
				     const char *kind, unsigned int n, const char *program,
				     uint32_t virtio_id)
{
	struct vmm_device *dev = add_device(devices, kind, n, program, options->wait);

	vmm_virtio_init(dev, dev->number, virtio_id);
	dev->args.features = options->features;
	return dev;
}

static void create_vhost(struct vmm_device *dev, const struct options *options, struct vm *vm)
{
	vmm_device_create(dev, vm, options->dispatch);
	vmm_vhost_create(dev, vm);
}

static void create_devices(struct devices *devices, const struct options *options, struct vm *vm)
{
	struct vmm_device *dev;
	unsigned int i;

	for (i = 0; i < options->nr_blk; i++) {
		dev = add_virtio(devices, options, "blk", i, "virtio-blk", VIRTIO_ID_BLOCK);
		vmm_blk_open(dev, options->blk[i]);
		vmm_device_create(dev, vm, options->dispatch);
	}
	for (i = 0; i < options->nr_net; i++) {
		dev = add_virtio(devices, options, "net", i, "virtio-net", VIRTIO_ID_NET);
		vmm_net_open(dev, options->net[i]);
		create_vhost(dev, options, vm);
	}
	if (options->cid) {
		dev = add_virtio(devices, options, "vsock", 0, "virtio-vsock", VIRTIO_ID_VSOCK);
		vmm_vsock_open(dev, options->cid);
		create_vhost(dev, options, vm);
	}
	vmm_pci_init(&devices->pci, vm);
	for (i = 0; i < options->nr_nvme; i++) {
		dev = add_device(devices, "nvme", i, "nvme", options->wait);
		vmm_nvme_init(dev, vm->nr_vcpus);
		vmm_blk_open(dev, options->nvme[i]);
		vmm_device_create(dev, vm, options->dispatch);
		vmm_nvme_add(&devices->pci, &devices->nvme[i], dev);
	}
}

static int tell(const struct options *options)
{
	char *words[CONTROL_MAX_WORDS];
	unsigned int i;

	if (options->nr_words > CONTROL_MAX_WORDS)
		bad_usage("the command is too long");
	for (i = 0; i < options->nr_words; i++)
		words[i] = options->command[i];
	/* The VMM may be in another directory. */
	if (i == 3) {
		words[2] = realpath(words[2], NULL);
		if (!words[2])
			err(EXIT_FAILURE, "%s", options->command[2]);
	}
	return control_request(options->tell, words, options->nr_words);
}

static void load(struct vm *vm, const struct options *options)
{
	if (options->bench)
		bench_load(vm);
	else
		boot_linux(vm, options->kernel, options->initrd, options->cmdline,
			   acpi_write_tables(vm, nr_virtio(options), options->nr_nvme));
}

static void write_device(FILE *stats, const struct vmm_device *dev)
{
	uint64_t requests = dev->state->counts.requests;
	uint64_t used_elements = dev->state->counts.used_elements;
	unsigned int n;

	for (n = 0; n < DEVICE_MAX_QUEUES; n++) {
		requests += dev->state->queues[n].fetched;
		used_elements += dev->state->queues[n].used_elements;
	}
	fprintf(stats, "%s_reads=%lu\n", dev->name, dev->state->counts.reads);
	fprintf(stats, "%s_writes=%lu\n", dev->name, dev->state->counts.writes);
	/* Of virtqueues whose rings are not in the kernel */
	fprintf(stats, "%s_requests=%lu\n", dev->name, requests);
	fprintf(stats, "%s_used_elements=%lu\n", dev->name, used_elements);
	/* How many there have been, one after the other */
	fprintf(stats, "%s_processes=%u\n", dev->name, dev->generation);
}

/*
 * The kernel may keep this process for as long as vhost is busy (vmm_vhost.h), but not the
 * disks: another VMM can have them.
 */
static void close_disks(struct devices *devices)
{
	unsigned int i;

	for (i = 0; i < devices->nr; i++) {
		if (!devices->devs[i].vhost)
			close(devices->devs[i].backend_fd);
	}
}

static void write_stats(FILE *stats, const char *name, const struct uart *uart,
			const struct devices *devices, const struct run_counters *counters)
{
	unsigned int i;

	for (i = 0; i < devices->nr; i++)
		write_device(stats, &devices->devs[i]);
	fprintf(stats, "uart_exits=%lu\n", uart->exits);
	fprintf(stats, "device_exits=%lu\n", counters->device_exits);
	fprintf(stats, "other_pio_exits=%lu\n", counters->other_pio);
	fprintf(stats, "other_mmio_exits=%lu\n", counters->other_mmio);
	if (fclose(stats))
		err(EXIT_FAILURE, "cannot write %s", name);
}

int main(int argc, char **argv)
{
	static struct devices devices;
	struct run_counters counters = { 0 };
	struct run_devices run;
	struct supervisor *supervisor;
	struct options options;
	FILE *stats = NULL;
	enum run_end end;
	struct uart uart;
	uint64_t ns = 0;
	struct vm vm;
	int status;

	parse_options(&options, argc, argv);
	if (options.tell)
		return tell(&options);
	if (options.stats) {
		stats = fopen(options.stats, "we");
		if (!stats)
			err(EXIT_FAILURE, "cannot write %s", options.stats);
	}

	vm_create(&vm, (options.bench ? BENCH_RAM_MB : options.ram_mb) << 20,
		  options.bench ? 1 : options.cpus);
	load(&vm, &options);
	run_catch_signals(&vm);
	set_terminal();
	uart_start(&uart, &vm, options.uart, options.uart_task);
	create_devices(&devices, &options, &vm);
	supervisor = supervise(devices.devs, devices.nr, options.crash_limit, options.control);
	run = (struct run_devices) {
		&uart, devices.devs, devices.nr, options.nr_nvme ? &devices.pci : NULL,
	};

	if (options.bench)
		end = bench_run(&vm, &run, &counters, options.bench, &ns);
	else
		end = run_vm(&vm, &run, &counters);

	status = exit_status(end);
	supervise_stop(supervisor);
	close_disks(&devices);
	if (!uart_stop(&uart, &vm, stats) && !status)
		status = EXIT_FAILURE;
	vm_destroy(&vm);

	if (options.bench && !status)
		printf("%lu ns per access\n", ns / options.bench);
	if (stats && options.bench)
		fprintf(stats, "ns_per_access=%lu\n", ns / options.bench);
	if (stats)
		write_stats(stats, options.stats, &uart, &devices, &counters);
	return status;
}
