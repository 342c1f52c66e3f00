// SPDX-License-Identifier: GPL-2.0-only
/*
 * ACPI tables and the PM1 registers. Names, offsets and lengths are those of
 * the ACPI Specification 6.0, chapter 5.2 (tables) and 4.8.3 (registers).
 */
#include "acpi.h"

#include <string.h>
#include "aml.h"
#include "pci.h"
#include "virtio_mmio.h"

#define LAPIC_ADDR	0xfee00000
#define IOAPIC_ADDR	0xfec00000
#define IOAPIC_ID	1

#define HEADER_LEN	36
#define DSDT_ROOM	0x10000	/* half of what there is for all tables */

/* FADT, IAPC_BOOT_ARCH. Not set: legacy devices, 8042. */
#define BOOT_NO_VGA	0x4
#define BOOT_NO_ASPM	0x10
#define BOOT_NO_RTC	0x20

/* FADT, Flags. The buttons that are "control methods" do not exist at all. */
#define FADT_WBINVD	0x1
#define FADT_PWR_BUTTON	0x10
#define FADT_SLP_BUTTON	0x20
#define FADT_NO_RTC_S4	0x40
#define FADT_RESET_REG	0x400

/* MADT */
#define MADT_PCAT	1	/* there are two 8259s as well */
#define MADT_LEVEL_HIGH	0x0d

/* PM1_CNT, second byte */
#define SLP_TYP_SHIFT	2
#define SLP_TYP_MASK	7
#define SLP_EN		0x20
#define SLP_TYP_S5	5	/* must be what \_S5 says, see dsdt_code */

/*
 * Name (_S5, Package () { 5, 0, 0, 0 }): to power off, write 5 to SLP_TYP.
 * The guest knows the devices of a PC without objects for them.
 */
static const uint8_t dsdt_code[] = {
	0x08,			/* NameOp */
	'_', 'S', '5', '_',
	0x12,			/* PackageOp */
	0x07,			/* its length, from here */
	0x04,			/* elements */
	0x0a, SLP_TYP_S5,	/* BytePrefix: SLP_TYP for PM1a_CNT */
	0x00, 0x00, 0x00,	/* ZeroOp: PM1b_CNT (none), reserved */
};

/* A table that is being built: where it is, here and in the guest, and how long so far. */
struct table {
	uint8_t *start;
	uint64_t addr;
	size_t len;
};

static void put(struct table *t, size_t offset, uint64_t value, size_t size)
{
	memcpy(t->start + offset, &value, size);
}

static void append(struct table *t, uint64_t value, size_t size)
{
	put(t, t->len, value, size);
	t->len += size;
}

static void put_checksum(struct table *t, size_t offset, size_t len)
{
	uint8_t sum = 0;
	size_t i;

	t->start[offset] = 0;
	for (i = 0; i < len; i++)
		sum += t->start[i];
	t->start[offset] = -sum;
}

/* A new table behind @last, which is done, aligned as the FACS must be. */
static struct table table_after(const struct table *last)
{
	size_t step = (last->len + 63) & ~63UL;
	struct table t = {
		.start = last->start + step,
		.addr = last->addr + step,
	};

	return t;
}

static struct table begin_table(const struct table *last, const char *signature,
				unsigned int revision)
{
	struct table t = table_after(last);

	memcpy(t.start, signature, 4);
	t.start[8] = revision;
	memcpy(t.start + 10, "KVMIOR", 6);	/* OEMID */
	memcpy(t.start + 16, "TOOLSVMM", 8);	/* OEM Table ID */
	put(&t, 24, 1, 4);			/* OEM Revision */
	memcpy(t.start + 28, "VMM ", 4);	/* Creator ID */
	put(&t, 32, 1, 4);			/* Creator Revision */
	t.len = HEADER_LEN;
	return t;
}

static void end_table(struct table *t)
{
	put(t, 4, t->len, 4);
	put_checksum(t, 9, t->len);
}

static struct table make_facs(const struct table *last)
{
	struct table t = table_after(last);

	memcpy(t.start, "FACS", 4);
	put(&t, 4, 64, 4);	/* Length */
	t.start[32] = 2;	/* Version */
	t.len = 64;
	return t;
}

/* Linux takes the device with this _HID, which ARM has made up, for virtio-mmio. */
static void append_virtio(struct aml *aml, unsigned int n)
{
	char name[] = "VIO0";
	size_t begin;

	name[3] += n;
	begin = aml_begin_device(aml, name);
	aml_name_string(aml, "_HID", "LNRO0005");
	aml_name_integer(aml, "_UID", n);
	aml_crs(aml, VIRTIO_MMIO_ADDR + n * VIRTIO_MMIO_STEP, VIRTIO_MMIO_SIZE,
		VIRTIO_MMIO_GSI + n);
	aml_end(aml, begin);
}

/* No interrupt routes (_PRT): the functions have no pins, but MSI-X. */
static void append_pci(struct aml *aml)
{
	size_t begin;

	begin = aml_begin_device(aml, "PCI0");
	aml_name_string(aml, "_HID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_pci_crs(aml, PCI_PORT, PCI_PORTS, PCI_WINDOW, PCI_WINDOW_SIZE);
	aml_end(aml, begin);
}

static struct table make_dsdt(const struct table *last, unsigned int nr_virtio, bool has_pci)
{
	struct table t = begin_table(last, "DSDT", 2);
	struct aml aml = { .start = t.start + t.len, .size = DSDT_ROOM };
	unsigned int n;
	size_t begin;

	aml_append(&aml, dsdt_code, sizeof(dsdt_code));
	begin = aml_begin_scope(&aml, "_SB");
	for (n = 0; n < nr_virtio; n++)
		append_virtio(&aml, n);
	if (has_pci)
		append_pci(&aml);
	aml_end(&aml, begin);
	t.len += aml.len;
	end_table(&t);
	return t;
}

static struct table make_fadt(const struct table *last,
			      const struct table *facs,
			      const struct table *dsdt)
{
	struct table t = begin_table(last, "FACP", 6);

	t.len = 276;
	put(&t, 36, facs->addr, 4);		/* FIRMWARE_CTRL */
	put(&t, 40, dsdt->addr, 4);		/* DSDT */
	put(&t, 46, SCI_GSI, 2);		/* SCI_INT */
	put(&t, 48, 0, 4);			/* SMI_CMD: always in ACPI mode */
	put(&t, 56, PM1A_EVT_PORT, 4);		/* PM1a_EVT_BLK */
	put(&t, 64, PM1A_CNT_PORT, 4);		/* PM1a_CNT_BLK */
	put(&t, 88, PM1A_CNT_PORT - PM1A_EVT_PORT, 1);	/* PM1_EVT_LEN */
	put(&t, 89, 2, 1);			/* PM1_CNT_LEN */
	put(&t, 96, 101, 2);			/* P_LVL2_LAT: no C2 */
	put(&t, 98, 1001, 2);			/* P_LVL3_LAT: no C3 */
	put(&t, 109, BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_RTC, 2);
	put(&t, 112, FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
		     FADT_NO_RTC_S4 | FADT_RESET_REG, 4);
	put(&t, 116, 1, 1);			/* RESET_REG: an I/O port */
	put(&t, 117, 8, 1);			/*   of 8 bits */
	put(&t, 119, 1, 1);			/*   accessed as a byte */
	put(&t, 120, RESET_PORT, 8);
	put(&t, 128, 1, 1);			/* RESET_VALUE */
	put(&t, 140, dsdt->addr, 8);		/* X_DSDT */
	memcpy(t.start + 268, "KVMKVMKV", 8);	/* Hypervisor Vendor Identity */
	end_table(&t);
	return t;
}

static void append_override(struct table *t, unsigned int irq, unsigned int gsi,
			    unsigned int flags)
{
	append(t, 2, 1);	/* Interrupt Source Override */
	append(t, 10, 1);
	append(t, 0, 1);	/* ISA */
	append(t, irq, 1);
	append(t, gsi, 4);
	append(t, flags, 2);
}

static void append_lapic(struct table *t, unsigned int id)
{
	append(t, 0, 1);	/* Processor Local APIC */
	append(t, 8, 1);
	append(t, id, 1);	/* ACPI Processor UID */
	append(t, id, 1);	/* APIC ID */
	append(t, 1, 4);	/* enabled */
}

static struct table make_madt(const struct table *last, unsigned int nr_vcpus)
{
	struct table t = begin_table(last, "APIC", 4);
	unsigned int id;

	append(&t, LAPIC_ADDR, 4);
	append(&t, MADT_PCAT, 4);

	for (id = 0; id < nr_vcpus; id++)
		append_lapic(&t, id);

	append(&t, 1, 1);	/* I/O APIC */
	append(&t, 12, 1);
	append(&t, IOAPIC_ID, 1);
	append(&t, 0, 1);
	append(&t, IOAPIC_ADDR, 4);
	append(&t, 0, 4);	/* its first GSI */

	append_override(&t, 0, TIMER_GSI, 0);
	append_override(&t, SCI_GSI, SCI_GSI, MADT_LEVEL_HIGH);

	append(&t, 4, 1);	/* Local APIC NMI */
	append(&t, 6, 1);
	append(&t, 0xff, 1);	/* every processor */
	append(&t, 0, 2);
	append(&t, 1, 1);	/* LINT1 */

	end_table(&t);
	return t;
}

static struct table make_xsdt(const struct table *last,
			      const struct table *fadt,
			      const struct table *madt)
{
	struct table t = begin_table(last, "XSDT", 1);

	append(&t, fadt->addr, 8);
	append(&t, madt->addr, 8);
	end_table(&t);
	return t;
}

uint64_t acpi_write_tables(struct vm *vm, unsigned int nr_virtio, bool has_pci)
{
	size_t room = HIGH_MEMORY_ADDR - ACPI_TABLES_ADDR;
	struct table rsdp, facs, dsdt, fadt, madt, xsdt;

	rsdp.start = vm_ram(vm, ACPI_TABLES_ADDR, room);
	rsdp.addr = ACPI_TABLES_ADDR;
	rsdp.len = 36;
	facs = make_facs(&rsdp);
	dsdt = make_dsdt(&facs, nr_virtio, has_pci);
	fadt = make_fadt(&dsdt, &facs, &dsdt);
	madt = make_madt(&fadt, vm->nr_vcpus);
	xsdt = make_xsdt(&madt, &fadt, &madt);

	memcpy(rsdp.start, "RSD PTR ", 8);
	memcpy(rsdp.start + 9, "KVMIOR", 6);
	rsdp.start[15] = 2;			/* Revision */
	put(&rsdp, 20, rsdp.len, 4);		/* Length */
	put(&rsdp, 24, xsdt.addr, 8);		/* XsdtAddress */
	put_checksum(&rsdp, 8, 20);		/* of what ACPI 1.0 knew */
	put_checksum(&rsdp, 32, rsdp.len);	/* of everything */
	return rsdp.addr;
}

/*
 * PM1_STS (0 and 1) stays zero: nothing ever happens, and so the SCI is never
 * raised. PM1_EN (2 and 3) and PM1_CNT (4 and 5) can be written and read back.
 */
static uint8_t pm[PM_PORTS] = {
	[4] = 1,	/* SCI_EN: in ACPI mode */
};

uint8_t acpi_pm_read(unsigned int offset)
{
	return pm[offset];
}

bool acpi_pm_write(unsigned int offset, uint8_t value)
{
	switch (offset) {
	case 2:
	case 3:
		pm[offset] = value;
		break;
	case 4:
		pm[offset] = value | 1;
		break;
	case 5:
		pm[offset] = value & ~SLP_EN;	/* reads as zero */
		return (value & SLP_EN) &&
		       ((value >> SLP_TYP_SHIFT) & SLP_TYP_MASK) == SLP_TYP_S5;
	}
	return false;
}
