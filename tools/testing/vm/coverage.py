#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which of our lines ran in these VMs: coverage.py MACHINE...

Each has written gcov's counters to its console, packed. A line counts if it is in a file of
ours, or is one that a hook has changed. Prints a table of lines and branches by file, and
the lines that never ran. Fails if more than 5 % of them did not, if one did not that is not
in coverage-reasons, or if one that is there did, unless its reason begins with "Seldom".
"""
import base64
import collections
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

TOP = pathlib.Path.cwd()
LINUX = TOP / 'build/linux'
PRISTINE = TOP / 'build/pristine'
REASONS = TOP / 'tools/testing/vm/coverage-reasons'
KERNEL_CODE = re.compile(r'(virt/kvm|drivers/(virtio|vhost)|include/linux)/.*\.[ch]$')
NOT_MEASURED = re.compile(r'kunit')
LIMIT = 95


def die(text):
    sys.exit(f'coverage.py: {text}')


def unpacked(machine, directory):
    """The counters of a machine, below directory, as the absolute paths they have there"""
    console = (TOP / 'build/vm' / machine / 'console').read_text(errors='replace')
    packed = re.search(r'^gcov: begin\r?\n(.*?)^gcov: end', console, re.M | re.S)
    if not packed:
        die(f'{machine} has no counters on its console')
    data = base64.b64decode(packed[1])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(directory)
    return sorted(directory.rglob('*.gcda'))


def gcov(gcda, directory):
    """What gcov says about one object file, as its JSON"""
    notes = pathlib.Path('/') / gcda.relative_to(directory).with_suffix('.gcno')
    if not notes.exists():
        die(f'{notes} is missing, which belongs to {gcda}')
    shutil.copy(notes, gcda.with_suffix('.gcno'))
    run = subprocess.run(['gcov', '--json-format', '--stdout', '--branch-probabilities', gcda.name],
                         cwd=gcda.parent, stdout=subprocess.PIPE)
    if run.returncode:
        die(f'gcov fails for {gcda}: does it come from a kernel that was built before?')
    return [json.loads(line) for line in run.stdout.splitlines() if line.strip()]


def name_of(path, cwd):
    """Where in a kernel tree the file is, or None if it is in none"""
    path = pathlib.Path(cwd, path).resolve()
    for parent in (LINUX.resolve(), TOP):
        if path.is_relative_to(parent):
            path = path.relative_to(parent)
            break
    else:
        return None
    # vhost's modules are built from a copy
    match = re.fullmatch(r'build/[^/]*-coverage/(vhost/.*)', str(path))
    return f'drivers/{match[1]}' if match else str(path)


def measured():
    """The files, each with the lines that count, or None if all of them do"""
    files = {}
    for name in (LINUX / '.laid').read_text().split('\n'):
        if KERNEL_CODE.match(name) and not NOT_MEASURED.search(name):
            files[name] = None
    for name in (PRISTINE / '.files').read_text().split('\n'):
        if not KERNEL_CODE.match(name):
            continue
        diff = subprocess.run(['diff', '--unchanged-line-format=', '--old-line-format=',
                               '--new-line-format=%dn\n', PRISTINE / name, LINUX / name],
                              stdout=subprocess.PIPE, text=True).stdout
        files[name] = {int(number) for number in diff.split()}
    return files


def counted(machines, files):
    """Of each file, how often its lines ran, and of each line, how often its branches"""
    lines = collections.defaultdict(collections.Counter)
    branches = collections.defaultdict(dict)
    for machine in machines:
        directory = TOP / 'build/coverage-data' / machine
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for gcda in unpacked(machine, directory):
            for unit in gcov(gcda, directory):
                add(unit, files, lines, branches)
    return lines, branches


def add(unit, files, lines, branches):
    for source in unit['files']:
        name = name_of(source['file'], unit['current_working_directory'])
        if name not in files:
            continue
        for line in source['lines']:
            number = line['line_number']
            if files[name] is not None and number not in files[name]:
                continue
            lines[name][number] += line['count']
            # A function that is inlined in several places has its branches in each of them
            old = branches[name].setdefault(number, [])
            new = [branch['count'] for branch in line['branches']]
            for i, count in enumerate(new):
                if i < len(old):
                    old[i] += count
                else:
                    old.append(count)


def reasons():
    found = {}
    last = None
    for line in REASONS.read_text().splitlines():
        if line.startswith('#') or not line.strip():
            continue
        if line[0] in ' \t':
            if last is None:
                die(f'{REASONS}: a reason without a line')
            found[last] += line.strip()
        else:
            name, _, text = line.partition(': ')
            last = name, text.strip()
            found[last] = ''
    for (name, text), reason in found.items():
        if not reason:
            die(f'{REASONS}: no reason for {name}: {text}')
    return found


def share(part, whole):
    return f'{part:6} of {whole:6} {100 * part / whole:6.1f} %' if whole else f'{"none":>25}'


def main():
    files = measured()
    lines, branches = counted(sys.argv[1:], files)
    known = reasons()
    unexplained, explained, all_run, all_lines = [], set(), 0, 0
    print(f'{"":40} {"lines":>25} {"branches":>25}')
    for name in sorted(lines):
        text = (LINUX / name).read_text().splitlines()
        run = sum(1 for count in lines[name].values() if count)
        taken = [count for line in branches[name].values() for count in line]
        print(f'{name:40} {share(run, len(lines[name]))} '
              f'{share(sum(1 for count in taken if count), len(taken))}')
        all_run += run
        all_lines += len(lines[name])
        for number, count in sorted(lines[name].items()):
            line = text[number - 1].strip()
            if count:
                continue
            if (name, line) in known:
                explained.add((name, line))
            else:
                unexplained.append(f'{name}:{number}: {line}')
    # A line that has the text of another one may run
    useless = [f'{name}: {text}' for (name, text), reason in known.items()
               if (name, text) not in explained and not reason.startswith('Seldom')]
    print(f'{"all":40} {share(all_run, all_lines)}')
    for line in unexplained:
        print(f'never run: {line}')
    for line in useless:
        print(f'has run, or is not there, but is in {REASONS.name}: {line}')
    absent = [name for name in files if name.endswith('.c') and name not in lines]
    for name in absent:
        print(f'not measured: {name}')
    if not all_lines or 100 * all_run < LIMIT * all_lines:
        die(f'less than {LIMIT} % of the lines ran')
    if unexplained or useless or absent:
        die('see above')


main()
