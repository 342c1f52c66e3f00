// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 64-bit boot protocol of Linux, see Documentation/arch/x86/boot.rst.
 */
#include "boot.h"

#include <asm/bootparam.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_OFFSET	offsetof(struct boot_params, hdr)
#define HEADER_MAGIC	0x53726448	/* "HdrS" */
#define BOOT_FLAG	0xaa55
#define SECTOR		512U
#define PROTOCOL_MIN	0x020c		/* the first with xloadflags */
#define ENTRY_64	0x200		/* from the start of the kernel proper */
#define LOADER_UNKNOWN	0xff
#define VIDEO_NORMAL	0xffff
#define PAGE		4096UL

#define E820_RAM	1
#define E820_RESERVED	2

struct file {
	const char *name;
	const uint8_t *data;
	size_t size;
};

static struct file map_file(const char *name)
{
	struct file file = { .name = name };
	struct stat st;
	void *data;
	int fd;

	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		err(EXIT_FAILURE, "cannot open %s", name);
	if (st.st_size <= 0)
		errx(EXIT_FAILURE, "%s is empty", name);
	file.size = st.st_size;
	data = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map %s", name);
	close(fd);
	file.data = data;
	return file;
}

static void unmap_file(struct file *file)
{
	munmap((void *)file->data, file->size);
}

static void check_header(const struct file *kernel,
			 const struct setup_header *hdr)
{
	if (hdr->boot_flag != BOOT_FLAG || hdr->header != HEADER_MAGIC)
		errx(EXIT_FAILURE, "%s is not a bzImage", kernel->name);
	if (hdr->version < PROTOCOL_MIN)
		errx(EXIT_FAILURE,
		     "%s speaks boot protocol %u.%02u, need 2.12 at least",
		     kernel->name, hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH) ||
	    !(hdr->xloadflags & XLF_KERNEL_64))
		errx(EXIT_FAILURE, "%s has no 64-bit entry point",
		     kernel->name);
}

/*
 * Read the header of @kernel into the zero page. It ends where the jump at its
 * beginning leads to, which differs from version to version.
 */
static void load_header(struct boot_params *params, const struct file *kernel)
{
	size_t end;

	if (kernel->size < sizeof(*params))
		errx(EXIT_FAILURE, "%s is too short to be a bzImage",
		     kernel->name);
	end = 0x202 + kernel->data[0x201];
	if (end > HEADER_OFFSET + sizeof(params->hdr))
		end = HEADER_OFFSET + sizeof(params->hdr);
	memset(params, 0, sizeof(*params));
	memcpy(&params->hdr, kernel->data + HEADER_OFFSET, end - HEADER_OFFSET);
	check_header(kernel, &params->hdr);
}

/*
 * Where the kernel prefers to be; it unpacks itself in place, for which it
 * wants init_size bytes. Returns the end of that.
 */
static uint64_t load_kernel(struct vm *vm, const struct setup_header *hdr,
			    const struct file *kernel)
{
	/* The protocol says that 0 means 4. */
	size_t start = ((hdr->setup_sects ?: 4) + 1) * SECTOR;
	size_t size;

	if (kernel->size <= start)
		errx(EXIT_FAILURE, "%s ends before the kernel proper",
		     kernel->name);
	size = kernel->size - start;
	/* syssize counts units of 16 bytes. */
	if ((size + 15) / 16 < hdr->syssize)
		errx(EXIT_FAILURE, "%s is truncated", kernel->name);
	if (hdr->pref_address < HIGH_MEMORY_ADDR)
		errx(EXIT_FAILURE, "%s wants to be loaded at %#llx",
		     kernel->name, hdr->pref_address);
	/* The whole of init_size must be there, not just the file. */
	vm_ram(vm, hdr->pref_address,
	       size > hdr->init_size ? size : hdr->init_size);
	memcpy(vm_ram(vm, hdr->pref_address, size), kernel->data + start, size);
	return hdr->pref_address + hdr->init_size;
}

/* At the top of memory, where the unpacking kernel does not get in the way. */
static void load_initrd(struct vm *vm, struct setup_header *hdr,
			const struct file *initrd, uint64_t kernel_end)
{
	uint64_t top = vm->ram_size, addr;

	if (top > hdr->initrd_addr_max + 1ULL)
		top = hdr->initrd_addr_max + 1ULL;
	if (initrd->size > top || top - initrd->size < kernel_end + PAGE)
		errx(EXIT_FAILURE,
		     "%s (%zu bytes) does not fit between the kernel and %lu MiB",
		     initrd->name, initrd->size, top >> 20);
	addr = (top - initrd->size) & ~(PAGE - 1);
	memcpy(vm_ram(vm, addr, initrd->size), initrd->data, initrd->size);
	hdr->ramdisk_image = addr;
	hdr->ramdisk_size = initrd->size;
}

static void load_cmdline(struct vm *vm, struct setup_header *hdr,
			 const char *cmdline)
{
	size_t len = strlen(cmdline);

	if (len > hdr->cmdline_size)
		errx(EXIT_FAILURE,
		     "the command line has %zu characters, the kernel takes %u",
		     len, hdr->cmdline_size);
	memcpy(vm_ram(vm, CMDLINE_ADDR, len + 1), cmdline, len + 1);
	hdr->cmd_line_ptr = CMDLINE_ADDR;
}

static void add_memory(struct boot_params *params, uint64_t start, uint64_t end,
		       uint32_t type)
{
	struct boot_e820_entry *e;

	e = &params->e820_table[params->e820_entries++];
	e->addr = start;
	e->size = end - start;
	e->type = type;
}

void boot_linux(struct vm *vm, const char *kernel_name, const char *initrd_name,
		const char *cmdline, uint64_t rsdp_addr)
{
	struct boot_params *params = vm_ram(vm, BOOT_PARAMS_ADDR,
					    sizeof(*params));
	struct setup_header *hdr = &params->hdr;
	struct file kernel = map_file(kernel_name);
	uint64_t kernel_end;

	load_header(params, &kernel);
	kernel_end = load_kernel(vm, hdr, &kernel);
	unmap_file(&kernel);
	if (initrd_name) {
		struct file initrd = map_file(initrd_name);

		load_initrd(vm, hdr, &initrd, kernel_end);
		unmap_file(&initrd);
	}
	load_cmdline(vm, hdr, cmdline);

	hdr->type_of_loader = LOADER_UNKNOWN;
	hdr->vid_mode = VIDEO_NORMAL;
	params->acpi_rsdp_addr = rsdp_addr;
	add_memory(params, 0, LOW_MEMORY_END, E820_RAM);
	add_memory(params, ACPI_TABLES_ADDR, HIGH_MEMORY_ADDR, E820_RESERVED);
	add_memory(params, HIGH_MEMORY_ADDR, vm->ram_size, E820_RAM);

	vm_set_long_mode(vm, hdr->pref_address + ENTRY_64, BOOT_PARAMS_ADDR);
}
