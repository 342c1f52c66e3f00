// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small virtual machine monitor, whose serial port is another process.
 */
#include "acpi.h"
#include "bench.h"
#include "boot.h"
#include "run.h"
#include "uart.h"
#include "vm.h"

#include <err.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define DEFAULT_CMDLINE	"console=ttyS0 panic=-1"
#define DEFAULT_RAM_MB	256
#define BENCH_RAM_MB	2

/* Exit status; EXIT_FAILURE (1) for everything else */
#define EXIT_USAGE	2
#define EXIT_RESET	3
#define EXIT_STOPPED	4

struct options {
	const char *kernel, *initrd, *cmdline, *stats, *uart_task;
	enum uart_path uart;
	unsigned long ram_mb, cpus;
	uint32_t bench;
};

static const char usage[] =
"Usage: vmm [options] --kernel=BZIMAGE\n"
"       vmm [options] --bench=N\n"
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
"  --bench=N         instead of booting, let a guest read the UART's line\n"
"                    status N times, and print the nanoseconds for each read\n"
"  --stats=FILE      write counters to FILE, one name=value on each line\n"
"  --help            print this text\n"
"\n"
"Exit status: 0 if the guest powered itself off (or the benchmark is done),\n"
"1 if something failed, 2 for wrong options, 3 if the guest asked for a reset\n"
"or crashed, 4 if SIGINT or SIGTERM stopped the VMM.\n";

static void bad_usage(const char *what)
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

/* The device task is installed beside the VMM. */
static const char *default_uart_task(void)
{
	char self[PATH_MAX], *path;
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		err(EXIT_FAILURE, "cannot read /proc/self/exe");
	self[n] = '\0';
	if (asprintf(&path, "%s/uart-task", dirname(self)) < 0)
		err(EXIT_FAILURE, "asprintf");
	return path;
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
	options->uart_task = default_uart_task();

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
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

int main(int argc, char **argv)
{
	struct run_counters counters = { 0 };
	struct options options;
	FILE *stats = NULL;
	enum run_end end;
	struct uart uart;
	uint64_t ns = 0;
	struct vm vm;
	int status;

	parse_options(&options, argc, argv);
	if (options.stats) {
		stats = fopen(options.stats, "we");
		if (!stats)
			err(EXIT_FAILURE, "cannot write %s", options.stats);
	}

	vm_create(&vm, (options.bench ? BENCH_RAM_MB : options.ram_mb) << 20,
		  options.bench ? 1 : options.cpus);
	if (options.bench)
		bench_load(&vm);
	else
		boot_linux(&vm, options.kernel, options.initrd, options.cmdline,
			   acpi_write_tables(&vm));
	run_catch_signals(&vm);
	set_terminal();
	uart_start(&uart, &vm, options.uart, options.uart_task);

	if (options.bench)
		end = bench_run(&vm, &uart, &counters, options.bench, &ns);
	else
		end = run_vm(&vm, &uart, &counters);

	status = exit_status(end);
	if (!uart_stop(&uart, &vm, stats) && !status)
		status = EXIT_FAILURE;
	vm_destroy(&vm);

	if (options.bench && !status)
		printf("%lu ns per access\n", ns / options.bench);
	if (stats) {
		fprintf(stats, "uart_exits=%lu\n", uart.exits);
		fprintf(stats, "other_pio_exits=%lu\n", counters.other_pio);
		fprintf(stats, "other_mmio_exits=%lu\n", counters.other_mmio);
		if (options.bench)
			fprintf(stats, "ns_per_access=%lu\n",
				ns / options.bench);
		if (fclose(stats))
			err(EXIT_FAILURE, "cannot write %s", options.stats);
	}
	return status;
}
