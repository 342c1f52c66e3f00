#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
conformance.py COMMAND: which case checks which clause of the virtio specification
  check              fail if a tag has no clause, a clause neither a case nor a reason, or if
                     the document is not what "document" writes
  document           write Documentation/driver-api/virtio/conformance.rst
  results CONSOLE... print the same with what the cases said in these consoles of machines

The clauses are in tools/testing/vm/clauses. The comment above a case, or in a litmus test, names
those that it checks: "Clause: 2.7.5.2b, 2.8.15c (packed)." The layouts of a case are those of
the variants of its fixture, or of its KUnit parameters; a case without any names them as here.
"""
import collections
import glob
import os
import re
import sys
import textwrap

CLAUSES = 'tools/testing/vm/clauses'
DOCUMENT = 'Documentation/driver-api/virtio/conformance.rst'
SOURCES = ['tools/testing/selftests/vhost/**/*.[ch]', 'tools/testing/selftests/virtio/**/*.[ch]',
           'drivers/virtio/vring_kunit*.[ch]', 'Documentation/litmus-tests/**/*.litmus']

LAYOUTS = ['split', 'split in order', 'packed', 'packed in order']
# The format that a section is about
FORMATS = {'2.7': LAYOUTS[:2], '2.8': LAYOUTS[2:]}
NOTES = ['no test', 'elsewhere', 'violated']

CASE = re.compile(r'\s*(?:TEST_F(?:_TIMEOUT)?\((\w+), (\w+)|TEST\((\w+)\)|'
                  r'static void (\w+)\(struct kunit \*test\))')
TAGGED = re.compile(r'([0-9][0-9.]*[a-z]|[a-z]+(?:-[a-z]+)+)(?: \(([^)]*)\))?(?:, |$)')

errors = []


def error(where, what):
    errors.append(f'{where}: {what}')


def layout_list(where, text):
    layouts = text.split(', ')
    for layout in layouts:
        if layout not in LAYOUTS:
            error(where, f'there is no layout "{layout}"')
    return layouts


class Clause:
    def __init__(self, name, section, layouts, demand):
        self.name, self.section, self.layouts, self.demand = name, section, layouts, demand
        self.notes = {}
        self.cases = []         # (case, its layouts that count here)

    def covered(self):
        return [layout for layout in self.layouts
                if any(layout in layouts for _, layouts in self.cases)]


Section = collections.namedtuple('Section', 'number who heading')
Case = collections.namedtuple('Case', 'program name variants')


def read_clauses():
    """Returns the chapters, lists of (title, clauses), and the clauses by name."""
    chapters, by_name = [], {}
    section = clause = None
    for number, line in enumerate(open(CLAUSES), 1):
        line, where = line.rstrip('\n'), f'{CLAUSES}:{number}'
        if not line or line.startswith('#'):
            continue
        if line.startswith('== '):
            chapters.append((line[3:], []))
        elif match := re.fullmatch(r'\[(\S+) (device|driver)\] (.+)', line):
            section = Section(*match.groups())
        elif match := re.fullmatch(r'\t([a-z ]+): (.+)', line):
            if match[1] not in NOTES or not clause:
                error(where, f'"{match[1]}" is none of {NOTES}, or belongs to no clause')
            else:
                clause.notes[match[1]] = match[2]
        elif section and (match := re.fullmatch(r'([a-z][a-z-]*)(?: \((.+)\))?: (.+)', line)):
            name = match[1] if section.number == 'cases' else section.number + match[1]
            layouts = FORMATS.get(section.number[:3], LAYOUTS)
            if match[2]:
                layouts = layout_list(where, match[2])
            if name in by_name:
                error(where, f'a second {name}')
            clause = by_name[name] = Clause(name, section, layouts, match[3])
            chapters[-1][1].append(clause)
        else:
            error(where, f'cannot read "{line}"')
    return chapters, by_name


def layout_of(packed, in_order):
    return LAYOUTS[2 * packed + in_order]


def variants_of(path):
    """The layouts of the variants of each fixture in a kselftest."""
    fixtures = collections.defaultdict(dict)
    defaults, suffix, kinds_of = '', '', None
    text = open(path).read().replace('\\\n', ' ')
    item = re.compile(r'^#include "(\S*(?:ring_kinds|_fixture)\.h)"|'
                      r'^#define RING_KINDS_OF\s+(\w+)|^#(undef) RING_KIND$|'
                      r'^#define RING_KIND\(fixture, name, \.\.\.\)([^\n]*)|'
                      r'^(?:RING_KIND|VARIANT|FIXTURE_VARIANT_ADD)\((\w+), (\w+)(.*?)(?:;$|\}$)',
                      re.M | re.S)
    for match in re.finditer(item, text):
        include, of, undef, macro, fixture, name, arguments = match.groups()
        if of:
            kinds_of = of
        elif undef:
            defaults = suffix = ''
        elif macro is not None:
            defaults = macro
            suffix = ''.join(re.findall(r'name##(\w+)', macro))
        elif include:
            for other, names in variants_of(os.path.join(os.path.dirname(path), include)).items():
                for name, layout in names.items():
                    if other == 'RING_KINDS_OF':
                        fixtures[kinds_of][name + suffix] = layout
                    else:
                        fixtures[other][name] = layout
        elif fixture:
            said = arguments
            if match[0].startswith('RING_KIND('):
                said += defaults
                name += suffix
            elif match[0].startswith('FIXTURE_VARIANT_ADD') and \
                    not re.search(r'\.(packed|in_order) = ', said) and name != 'split':
                continue
            fixtures[fixture][name] = layout_of('.packed = true' in said,
                                                '.in_order = true' in said)
    return fixtures


def kunit_parameters(text):
    """The suite of a file, and the layouts of the parameters of each of its cases."""
    arrays, generators, cases = {}, {}, {}
    for name, body in re.findall(r'struct fake_layout (\w+)\[\] = \{(.*?)\n\};', text, re.S):
        arrays[name] = {
            parameter: layout_of('FAKE_PACKED' in features, 'FAKE_IN_ORDER' in features)
            for parameter, features in re.findall(r'\{ "([^"]+)",\s+(FAKE_[^}]+)\}', body)}
    for generator, array in re.findall(r'KUNIT_ARRAY_PARAM_DESC\((\w+), (\w+),', text):
        generators[generator] = arrays[array]
    for name, generator in re.findall(r'KUNIT_CASE_PARAM(?:_ATTR)?\((\w+), (\w+)_gen_params', text):
        cases[name] = generators[generator]
    suite = re.search(r'struct kunit_suite \w+ = \{\s*\.name = "(\w+)"', text)
    return suite and suite[1], cases


def read_case(path, text, match, fixtures):
    """The case that a match of CASE defines."""
    fixture, name, single, function = match.groups()
    if function:
        if not re.search(rf'KUNIT_CASE\w*\({function}\b', text):
            error(path, f'{function}() has a tag, and is no case of the suite')
        suite, cases = kunit_parameters(text)
        variants = {f'{suite}.{function}: {parameter}': layout
                    for parameter, layout in cases.get(function, {}).items()}
        return Case('kunit.sh', f'{suite}.{function}', variants or {f'{suite}.{function}': None})
    program = os.path.splitext(os.path.basename(path))[0]
    if single:
        return Case(program, single, {f'global.{single}': None})
    variants = {f'{fixture}.{variant}.{name}': layout
                for variant, layout in fixtures[fixture].items()}
    return Case(program, f'{fixture}.{name}', variants or {f'{fixture}.*.{name}': None})


def may_check(path, who):
    """Do the tests in this file have such a device, or driver, in the kernel?"""
    if path.endswith('.litmus') or path.endswith('vduse_vhost_test.c'):
        return True
    return ('/vhost/' in path) == (who == 'device')


def add_case(path, where, case, tags, by_name):
    rest = tags
    while rest:
        match = TAGGED.match(rest)
        if not match:
            error(where, f'cannot read "Clause: {tags}."')
            return
        rest = rest[match.end():]
        clause = by_name.get(match[1])
        if not clause:
            error(where, f'there is no clause {match[1]}')
            continue
        layouts = layout_list(where, match[2]) if match[2] else \
            [layout for layout in LAYOUTS if layout in case.variants.values()]
        if not layouts:
            error(where, f'{case.name} has no layouts: name them as in "{match[1]} (split)"')
        elif not set(layouts) & set(clause.layouts):
            error(where, f'{match[1]} is not about the layouts of {case.name}')
        elif not may_check(path, clause.section.who):
            error(where, f'{match[1]} is about the {clause.section.who}, which the test itself is')
        else:
            clause.cases.append((case, [layout for layout in clause.layouts if layout in layouts]))


def read_tags(by_name):
    for path in sorted(sum((glob.glob(pattern, recursive=True) for pattern in SOURCES), [])):
        text = open(path).read()
        litmus = path.endswith('.litmus')
        fixtures = None
        for comment in re.finditer(r'\(\*(.*?)\*\)' if litmus else r'/\*(.*?)\*/', text, re.S):
            words = ' '.join(re.sub(r'^\s*\*', '', comment[1], flags=re.M).split())
            where = f'{path}:{text.count(chr(10), 0, comment.start()) + 1}'
            if len(re.findall(r'\bclauses?:', words, re.I)) != words.count('Clause: ') or \
                    words.count('Clause: ') > 1:
                error(where, 'a comment has one tag, "Clause: "')
            if 'Clause: ' not in words:
                continue
            tags = re.search(r'Clause: (.*?)\.(?=\s|$)', words)
            if litmus:
                case = Case('make litmus', os.path.basename(path), {})
            else:
                match = CASE.match(text, comment.end())
                if not match:
                    error(where, 'a tag that is not above a case')
                    continue
                if fixtures is None:
                    fixtures = variants_of(path)
                case = read_case(path, text, match, fixtures)
            if tags:
                add_case(path, where, case, tags[1], by_name)
            else:
                error(where, 'a tag that does not end in a full stop')


def check_clauses(by_name):
    for clause in by_name.values():
        where = f'{CLAUSES}: {clause.name}'
        reasons = [note for note in ('no test', 'elsewhere') if note in clause.notes]
        if clause.cases and reasons:
            error(where, f'has a case, and "{reasons[0]}"')
        if len(reasons) > 1 or not clause.cases and not reasons:
            error(where, 'has no case: say why, by one of "no test", "elsewhere"')


def cases_of(clause):
    """The cases of a clause by program"""
    programs = collections.defaultdict(list)
    for case, _ in clause.cases:
        if case.name not in programs[case.program]:
            programs[case.program].append(case.name)
    return programs


def layouts_text(layouts):
    return 'all' if layouts == LAYOUTS else ', '.join(layouts)


def cell(text, first='     - '):
    return '\n'.join(textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=' ' * 7,
                                   break_long_words=False, break_on_hyphens=False))


def coverage_cell(clause):
    parts = []
    if 'elsewhere' in clause.notes:
        parts.append(f'Elsewhere: {clause.notes["elsewhere"]}.')
    if 'no test' in clause.notes:
        parts.append(f'**No test**: {clause.notes["no test"]}.')
    missing = [layout for layout in clause.layouts if layout not in clause.covered()]
    if clause.cases and missing:
        parts.append(f'**No test** of {", ".join(missing)}.')
    for program, names in cases_of(clause).items():
        parts.append(f'{program}: ' + ', '.join(f'``{name}``' for name in names) + '.')
    if 'violated' in clause.notes:
        parts.append(f'**Violated**: {clause.notes["violated"]}.')
    return ' '.join(parts)


def summary(by_name):
    kinds = collections.Counter()
    for clause in by_name.values():
        if 'elsewhere' in clause.notes:
            kinds['elsewhere'] += 1
        elif not clause.cases:
            kinds['none'] += 1
        else:
            kinds['all' if clause.covered() == clause.layouts else 'some'] += 1
        kinds['violated'] += 'violated' in clause.notes
    return (f'Of {len(by_name)} clauses, {kinds["elsewhere"]} are met or missed elsewhere. Of the '
            f'others, {kinds["all"]} have a case in each layout that they are about, '
            f'{kinds["some"]} in some of these, and {kinds["none"]} have none. '
            f'{kinds["violated"]} are known not to hold.')


INTRODUCTION = '''\
.. SPDX-License-Identifier: GPL-2.0-only
.. Made by tools/testing/vm/conformance.py: "make conformance". Do not edit.

:orphan:

==============================
Which test checks which clause
==============================

What the virtio specification, version 1.3, demands of a device or a driver
(MUST, MUST NOT) where a virtqueue or the kernel's part of ``vhost`` can meet it
or miss it, in other words than the specification's; and who checks it. The
device is ``vhost`` with ``vhost_net``, ``vhost_vsock``, ``vhost_test`` or
``vhost_scsi``; the driver is the virtqueue core. Legacy interfaces are left
out: packed and in-order virtqueues do not have them.

A clause is a section of the specification and a letter, which is ours: the
comment above a case names the clauses whose breach would make it fail. "No
test" is a gap, "violated" a known breach, and "elsewhere" means that somebody
else has to meet the clause. The layouts are split and packed, each in order or
not. ``make conformance`` makes this document, and prints the clauses with the
results of the last ``make test``.

'''


def document(chapters, by_name):
    out = [INTRODUCTION + textwrap.fill(summary(by_name), 80) + '\n']
    for title, clauses in chapters:
        out.append(f'{title}\n{"=" * len(title)}\n')
        out.append('.. list-table::\n   :header-rows: 1\n   :widths: 18 34 14 34\n')
        out.append('   * - Clause\n     - What is demanded\n     - Layouts\n     - Cases')
        section = None
        for clause in clauses:
            heading = ''
            if clause.section != section and clause.section.number != 'cases':
                heading = f': {clause.section.heading}'
            section = clause.section
            out.append(cell(f'{clause.name}, {section.who}{heading}', '   * - '))
            out.append(cell(clause.demand))
            out.append(cell(layouts_text(clause.layouts)))
            out.append(cell(coverage_cell(clause)))
        out.append('')
    return '\n'.join(out).rstrip('\n') + '\n'


def read_consoles(paths):
    """What each case said: results[program, variant] is a set of passed, failed, skipped."""
    results = collections.defaultdict(set)
    for path in paths:
        program = None
        for line in open(path, errors='replace'):
            line = line.rstrip('\r\n')
            if line.startswith('# selftests: '):
                program = os.path.basename(line.split()[2])
            elif program and (match := re.match(r'(not )?ok \d+ (?:- )?(.*?)( +#.*)?$', line)):
                result = 'failed' if match[1] else \
                    'skipped' if match[3] and 'SKIP' in match[3] else 'passed'
                results[program, match[2]].add(result)
    return results


def result_of(clause, layout, results):
    """The worst result of a clause in a layout"""
    said = set()
    if layout not in clause.layouts:
        return '.'
    if 'elsewhere' in clause.notes:
        return 'elsewhere'
    for case, layouts in clause.cases:
        if layout not in layouts:
            continue
        if case.program == 'make litmus':
            said.add('litmus')
            continue
        found = set()
        for variant, of in case.variants.items():
            if of in (layout, None):
                pattern = re.escape(variant).replace(r'\*', r'[^.]+')
                for (program, name), result in results.items():
                    if program == case.program and re.fullmatch(pattern, name):
                        found |= result
        said |= found or {'not run'}
    for result in ('failed', 'not run', 'passed', 'litmus', 'skipped'):
        if result in said:
            return result
    return 'no test'


def print_results(chapters, by_name, paths):
    results = read_consoles(paths)
    failed = False
    for title, clauses in chapters:
        print(f'\n{title}\n')
        print(f'{"clause":<20}{"":<8}{"split":<11}{"in order":<11}{"packed":<11}{"in order":<11}')
        for clause in clauses:
            row = [result_of(clause, layout, results) for layout in LAYOUTS]
            failed |= 'failed' in row
            print(f'{clause.name:<20}{clause.section.who:<8}' +
                  ''.join(f'{result:<11}' for result in row) + clause.demand)
            for note in NOTES:
                if note in clause.notes:
                    print(f'{"":<28}{note}: {clause.notes[note]}')
    print('\n' + summary(by_name))
    return failed


def main():
    command, paths = (sys.argv + [''])[1], sys.argv[2:]
    chapters, by_name = read_clauses()
    read_tags(by_name)
    check_clauses(by_name)
    failed = False
    if command == 'check':
        if not os.path.exists(DOCUMENT) or open(DOCUMENT).read() != document(chapters, by_name):
            error(DOCUMENT, 'not what the tags say: make conformance')
    elif command == 'document':
        with open(DOCUMENT, 'w') as file:
            file.write(document(chapters, by_name))
    elif command == 'results':
        failed = print_results(chapters, by_name, paths)
    else:
        sys.exit(__doc__)
    for line in errors:
        print(line, file=sys.stderr)
    sys.exit(bool(errors) or failed)


main()
