#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""
descriptions.py COMMAND INCLUDE: the descriptions for syzkaller that are in this directory
  check    fail if one is malformed, or not what the kernel's headers say
  consts   write NAME.txt.const, with the values that the headers give

INCLUDE is a directory of exported headers, such as usr/include of a kernel that was built.

The syntax is that of syzkaller's docs/syscall_descriptions_syntax.md, as far as it is used here.
Comments say what a compiler would need to know:
  # from FILE: NAME...     types, flags and resources of syzkaller's own descriptions
  # struct NAME            the struct that follows has the fields of this one
  # not used: NAME...      constants of our headers with which nothing can be called
"""
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Ours, of which everything has to be described
HEADERS = ['linux/ioregionfd.h', 'linux/kvm_ioregionfd.h']

CALLS = ['ioctl', 'mmap', 'openat', 'read', 'write', 'syz_io_uring_submit', 'syz_memcpy_off']
INTS = {'int8': 1, 'int16': 2, 'int32': 4, 'int64': 8, 'intptr': 8}
DIRECTIONS = ['in', 'out', 'inout']
# Types of syzkaller's own with a size that matters here; others are file descriptors
EXTERNAL_SIZES = {'sqe_user_data': 8}

Type = collections.namedtuple('Type', 'name arguments bits')
Field = collections.namedtuple('Field', 'name type direction')
Define = collections.namedtuple('Define', 'where value')
Struct = collections.namedtuple('Struct', 'where name parameters fields union of')

errors = []


def error(where, what):
    errors.append(f'{where}: {what}')


def is_number(text):
    return re.fullmatch(r'-?(0x[0-9a-f]+|[0-9]+)', text) is not None


def is_constant(text):
    return re.fullmatch(r'_*[A-Z][A-Z0-9_]*', text) is not None


class Parser:
    """Of a type, such as ptr[in, array[int8, 1:4]]"""
    TOKEN = re.compile(r'\s*("[^"]*"|-?0x[0-9a-f]+|-?[0-9]+|[A-Za-z_][A-Za-z0-9_]*|[\[\],:])')

    def __init__(self, where, text):
        self.where, self.text, self.at = where, text, 0

    def token(self):
        match = self.TOKEN.match(self.text, self.at)
        return match[1] if match else None

    def take(self, expected=None):
        match = self.TOKEN.match(self.text, self.at)
        if not match or expected and match[1] != expected:
            raise ValueError(f'expected {expected or "something"} at "{self.text[self.at:]}"')
        self.at = match.end()
        return match[1]

    def type(self):
        name, arguments, bits = self.take(), [], None
        if name in '[],:':
            raise ValueError(f'no type at "{self.text[self.at:]}"')
        if self.token() == ':':
            self.take()
            bits = self.take()
        if self.token() == '[':
            self.take()
            while True:
                arguments.append(self.type())
                if self.take() == ']':
                    break
        return Type(name, arguments, bits)

    def rest(self):
        rest, self.at = self.text[self.at:], len(self.text)
        return rest


def parse(where, text):
    """Returns a type and what comes after it."""
    parser = Parser(where, text)
    try:
        return parser.type(), parser.rest().strip()
    except ValueError as wrong:
        error(where, str(wrong))
        return Type('int8', [], None), ''


class File:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)
        self.includes, self.defines, self.resources, self.flags = [], {}, {}, {}
        self.structs, self.aliases, self.calls = {}, {}, {}
        self.external, self.unused, self.used = {}, {}, set()
        self.constants, self.produced = set(), set()
        self.read()

    def define_once(self, table, where, name, value):
        for other in (self.resources, self.flags, self.structs, self.aliases):
            if name in other or name in self.external:
                error(where, f'a second {name}')
        table[name] = value

    def read(self):
        lines = [line.rstrip('\n') for line in open(self.path)]
        of, i = None, 0
        while i < len(lines):
            line, where = lines[i], f'{self.name}:{i + 1}'
            i += 1
            if not line:
                continue
            if line.startswith('#'):
                of = self.comment(where, line)
                continue
            if line[-1] in '{[' and not line.startswith('ioctl'):
                end = i
                while end < len(lines) and lines[end].startswith('\t'):
                    end += 1
                self.struct(where, line, lines[i:end], of)
                if end == len(lines) or lines[end] != {'{': '}', '[': ']'}[line[-1]]:
                    error(where, 'does not end')
                i = end + 1
            else:
                self.line(where, line)
            of = None

    def comment(self, where, line):
        if match := re.fullmatch(r'# from \S+: (.+)', line):
            for name in match[1].split():
                self.external[name] = where
        elif match := re.fullmatch(r'# not used: ([A-Z0-9_ ]+?)( \(.*\))?', line):
            for name in match[1].split():
                self.unused[name] = where
        elif match := re.fullmatch(r'# struct (\w+)', line):
            return match[1]
        return None

    def line(self, where, line):
        if match := re.fullmatch(r'meta arches\["amd64"\]', line):
            return
        if match := re.fullmatch(r'include <(\S+)>', line):
            self.includes.append(match[1])
        elif match := re.fullmatch(r'define (\w+)\t(.+)', line):
            self.defines[match[1]] = Define(where, match[2])
        elif match := re.fullmatch(r'resource (\w+)\[(\w+)\](?:: (.+))?', line):
            self.define_once(self.resources, where, match[1], match[2])
            for value in (match[3] or '0').split(', '):
                self.value(where, value)
        elif match := re.fullmatch(r'type (\w+) (.+)', line):
            self.define_once(self.aliases, where, match[1], (where, self.whole(where, match[2])))
        elif match := re.fullmatch(r'(\w+) = (.+)', line):
            values = match[2].split(', ')
            self.define_once(self.flags, where, match[1], where)
            if len(set(values)) != len(values):
                error(where, 'a value twice')
            for value in values:
                self.value(where, value)
        elif match := re.fullmatch(r'(\w+)(\$\w+)?\((.*)\)(?: (\w+))?', line):
            self.call(where, *match.groups())
        else:
            error(where, f'cannot read "{line}"')

    def whole(self, where, text):
        type_, rest = parse(where, text)
        if rest:
            error(where, f'cannot read "{rest}"')
        return type_

    def struct(self, where, line, body, of):
        match = re.fullmatch(r'(?:type )?(\w+)(?:\[([A-Z, ]+)\])? ([{[])', line)
        if not match:
            error(where, f'cannot read "{line}"')
            return
        fields = []
        for text in body:
            text = text.strip()
            if text.startswith('#'):
                continue
            name, _, rest = text.partition('\t')
            type_, rest = parse(where, rest)
            direction = re.fullmatch(r'\((in|out|inout)\)', rest)
            if rest and not direction:
                error(where, f'{name}: cannot read "{rest}"')
            if name in [field.name for field in fields]:
                error(where, f'a second {name}')
            fields.append(Field(name, type_, direction and direction[1]))
        if len(fields) < (2 if match[3] == '[' else 1):
            error(where, 'has too few fields')
        self.define_once(self.structs, where, match[1], Struct(
            where, match[1], match[2].split(', ') if match[2] else [], fields, match[3] == '[', of))

    def call(self, where, call, variant, arguments, result):
        if call not in CALLS:
            error(where, f'there is no call {call}')
        if call + (variant or '') in self.calls:
            error(where, f'a second {call}{variant}')
        if not call.startswith('syz_'):
            self.constants.add(f'__NR_{call}')
        fields = []
        while arguments:
            name, _, rest = arguments.partition(' ')
            type_, rest = parse(where, rest)
            fields.append(Field(name, type_, None))
            if rest and not rest.startswith(', '):
                error(where, f'cannot read "{rest}"')
            arguments = rest[2:]
        self.calls[call + (variant or '')] = (where, fields, result)

    def value(self, where, text):
        if is_constant(text):
            self.constants.add(text)
        elif not is_number(text):
            error(where, f'"{text}" is neither a number nor a constant')

    # Whether all types and names make sense

    def check(self):
        for struct in self.structs.values():
            for field in struct.fields:
                self.check_type(struct.where, field.type, struct.fields, struct.parameters, True)
                if field.direction in ('out', 'inout'):
                    self.produced.add(field.type.name)
        for where, type_ in self.aliases.values():
            self.check_type(where, type_, [], [], True)
        for where, fields, result in self.calls.values():
            for field in fields:
                self.check_type(where, field.type, fields, [], False)
                if field.type.name in self.structs or field.type.name in ('array', 'string'):
                    error(where, f'{field.name}: a {field.type.name} is no argument of a call')
            if result:
                self.check_type(where, Type(result, [], None), fields, [], False)
                self.produced.add(result)
        for name, base in self.resources.items():
            if base not in INTS and base not in self.resources and base not in self.external:
                error(self.name, f'resource {name}: there is no {base}')
            self.used.add(base)
            if name not in self.produced:
                error(self.name, f'nothing returns a {name}')
        for table in (self.resources, self.flags, self.structs, self.aliases, self.external):
            for name in table:
                if name not in self.used:
                    error(self.name, f'{name} is not used')
        for name, define in self.defines.items():
            if name not in self.constants:
                error(define.where, f'{name} is not used')

    def check_type(self, where, type_, siblings, parameters, needs_base):
        """@needs_base: in memory, a constant has a size."""
        name, arguments = type_.name, type_.arguments
        if name in parameters and not arguments:
            return
        if name in INTS:
            if arguments:
                self.range(where, arguments[0])
        elif name in ('const', 'flags', 'len', 'bytesize'):
            self.check_value(where, type_, siblings, parameters)
            if len(arguments) != 1 + needs_base or needs_base and arguments[1].name not in INTS:
                error(where, f'{name}: {"no size" if needs_base else "more than one argument"}')
        elif name in ('ptr', 'ptr64'):
            if len(arguments) != 2 or arguments[0].name not in DIRECTIONS:
                error(where, f'{name}: not a direction and a type')
            else:
                self.check_type(where, arguments[1], siblings, parameters, True)
        elif name == 'array':
            if len(arguments) not in (1, 2):
                error(where, 'array: not a type and a size')
            elif len(arguments) == 2:
                self.range(where, arguments[1])
            self.check_type(where, arguments[0], siblings, parameters, True)
        elif name == 'string':
            if len(arguments) != 1 or not arguments[0].name.startswith('"'):
                error(where, 'string: not one string')
        else:
            self.check_name(where, type_, parameters)

    def check_value(self, where, type_, siblings, parameters):
        value = type_.arguments[0].name if type_.arguments else ''
        if type_.name == 'const':
            if value not in parameters:
                self.value(where, value)
        elif type_.name == 'flags':
            self.used.add(value)
            if value not in self.flags and value not in self.external:
                error(where, f'there are no flags {value}')
        elif value not in [sibling.name for sibling in siblings]:
            error(where, f'{type_.name} of {value}, which is not beside it')

    def range(self, where, type_):
        for text in (type_.name, type_.bits):
            if text is not None:
                self.value(where, text)
        if type_.bits and is_number(type_.name) and is_number(type_.bits) and \
                int(type_.name, 0) > int(type_.bits, 0):
            error(where, f'from {type_.name} to {type_.bits}')

    def check_name(self, where, type_, parameters):
        name = type_.name
        self.used.add(name)
        if name in self.structs:
            if len(type_.arguments) != len(self.structs[name].parameters):
                error(where, f'{name} has {len(self.structs[name].parameters)} parameters')
            for argument in type_.arguments:
                if is_number(argument.name) or is_constant(argument.name):
                    self.value(where, argument.name)
                else:
                    self.check_type(where, argument, [], parameters, True)
        elif name not in self.resources and name not in self.aliases and name not in self.external:
            error(where, f'there is no type {name}')
        elif [argument.name for argument in type_.arguments] not in ([], ['opt']):
            error(where, f'{name} takes no arguments')

    # Sizes, as a compiler of the machine has them. None: not fixed

    def layout(self, type_, given):
        """Returns size and alignment."""
        type_ = given.get(type_.name, type_)
        name, arguments = type_.name, type_.arguments
        if name in INTS:
            return INTS[name], INTS[name]
        if name in ('const', 'flags', 'len', 'bytesize'):
            return self.layout(arguments[1], given)
        if name in ('ptr', 'ptr64'):
            return 8, 8
        if name == 'array':
            size, align = self.layout(arguments[0], given)
            # not a range, and not without a number
            if size is None or len(arguments) == 1 or arguments[1].bits:
                return None, align
            return size * int(arguments[1].name, 0), align
        if name in self.aliases:
            return self.layout(self.aliases[name][1], given)
        if name in self.structs:
            struct = self.structs[name]
            inner = dict(zip(struct.parameters, [given.get(a.name, a) for a in arguments]))
            return self.struct_layout(struct, inner)[:2]
        while name in self.resources:
            name = self.resources[name]
        size = INTS.get(name) or EXTERNAL_SIZES.get(name, 4)
        return size, size

    def struct_layout(self, struct, given):
        """Returns size, alignment and a list of (field, offset, size), without bit fields."""
        places, offset, align, most, bits = [], 0, 1, 0, 0
        for field in struct.fields:
            size, field_align = self.layout(field.type, given)
            align = max(align, field_align)
            if size is None:
                return None, align, places
            most = max(most, size)
            if struct.union:
                continue
            if field.type.bits:
                # they fill a unit of their type
                if not bits:
                    offset = -(-offset // field_align) * field_align
                bits += int(field.type.bits, 0)
                if bits == 8 * size:
                    offset += size
                    bits = 0
                elif bits > 8 * size:
                    error(struct.where, f'{field.name}: more bits than its type has')
                continue
            if bits:
                error(struct.where, f'{field.name}: after {bits} bits')
            offset = -(-offset // field_align) * field_align
            places.append((field, offset, size))
            offset += size
        size = most if struct.union else offset
        return -(-size // align) * align, align, places


# What a C compiler makes of the headers

C_BEGIN = '''
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#define CONSTANT(name) printf("constant %s %llu\\n", #name, (unsigned long long)(name))
#define COMPARE(what, is, said) do { \\
	if ((is) != (said)) \\
		printf("wrong %s is %zu, not %zu\\n", what, (size_t)(is), (size_t)(said)); \\
} while (0)
'''


def program(file):
    """The C program that says what the constants are, and what is wrong with structs"""
    lines = [f'#include <{include}>' for include in file.includes] + [C_BEGIN]
    for name, define in file.defines.items():
        lines.append(f'#ifndef {name}\n#define {name} ({define.value})\n#endif')
    lines.append('int main(void)\n{')
    for name in sorted(file.constants):
        lines.append(f'CONSTANT({name});')
    for struct in file.structs.values():
        if not struct.of:
            continue
        of = f'struct {struct.of}'
        size, _, places = file.struct_layout(struct, {
            parameter: Type('int16', [], None) for parameter in struct.parameters})
        what = f'{struct.where}: {of}'
        for field, offset, field_size in places:
            member = f'(({of} *)0)->{field.name}'
            lines.append(f'COMPARE("{what}: the offset of {field.name}", '
                         f'offsetof({of}, {field.name}), {offset});')
            if field.type.name == 'array':
                member += '[0]'
                field_size = file.layout(field.type.arguments[0], {})[0]
            lines.append(f'COMPARE("{what}: the size of {field.name}", '
                         f'sizeof({member}), {field_size});')
        last = places[-1]
        if last[0].type.name == 'array':
            # or the array has no size in C
            lines.append(f'if (sizeof({of}) != {last[1]})')
        lines.append(f'COMPARE("{what}: the size", sizeof({of}), {size});')
    return '\n'.join(lines + ['return 0;', '}', ''])


def ask_compiler(file, include):
    """Returns the values of the constants."""
    with tempfile.TemporaryDirectory() as work:
        command = ['gcc', '-w', '-isystem', include, '-x', 'c', '-', '-o', f'{work}/ask']
        run = subprocess.run(command, input=program(file), text=True, capture_output=True,
                             check=False)
        if run.returncode:
            for line in run.stderr.splitlines():
                if match := re.search(r'error: (.*)', line):
                    error(file.name, f'the headers do not have it: {match[1]}')
            return None
        said = subprocess.run([f'{work}/ask'], text=True, capture_output=True, check=True).stdout
    values = {}
    for line in said.splitlines():
        kind, rest = line.split(' ', 1)
        if kind == 'wrong':
            where, what = rest.split(': ', 1)
            error(where, what)
        else:
            name, value = rest.split()
            values[name] = int(value)
    return values


def consts(values):
    return '# Made by descriptions.py consts. DO NOT EDIT.\narches = amd64\n' + \
        ''.join(f'{name} = {value}\n' for name, value in sorted(values.items()))


def check_complete(files, include):
    """Is everything in our headers described?"""
    text = ''.join(open(file.path).read() for file in files)
    constants = set().union(*(file.constants for file in files))
    uses = constants | {define.value for file in files for define in file.defines.values()}
    unused = {name: where for file in files for name, where in file.unused.items()}
    for header in HEADERS:
        source = open(os.path.join(include, header)).read()
        for name in re.findall(r'^struct (\w+) \{', source, re.M):
            if not re.search(rf'struct {name}\b', text):
                error(header, f'struct {name} is not described')
        for name in re.findall(r'^#define (\w+)[ \t]+\S', source, re.M):
            if re.search(r'_NR$|_IOC_MAGIC$|_H$', name):
                continue
            if name in unused:
                if name in constants:
                    error(unused[name], f'{name} is used')
                del unused[name]
            elif not any(re.search(rf'\b{name}\b', use) for use in uses):
                error(header, f'{name} is not described')
    for name, where in unused.items():
        error(where, f'our headers have no {name}')


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('check', 'consts'):
        sys.exit(__doc__)
    command, include = sys.argv[1:]
    files = [File(path) for path in sorted(glob.glob(f'{HERE}/*.txt'))]
    for file in files:
        file.check()
        values = ask_compiler(file, include) if not errors else None
        if values is None:
            continue
        path = file.path + '.const'
        if command == 'consts':
            with open(path, 'w') as out:
                out.write(consts(values))
        elif not os.path.exists(path) or open(path).read() != consts(values):
            error(f'{file.name}.const', 'not what the headers say: descriptions.py consts')
    check_complete(files, include)
    for line in errors:
        print(line)
    sys.exit(bool(errors))


main()
