% octave-cli octave.m FILE PATH...: each dataset as class and bytes, or as words.
arguments = argv();
file = load('-hdf5', arguments{1});
for k = 2:numel(arguments)
    names = strsplit(arguments{k}, '/');
    value = getfield(file, names{:});
    if ischar(value)
        printf('%s text %s\n', arguments{k}, strjoin(cellstr(value)', ' '));
    else
        printf('%s %s %s\n', arguments{k}, class(value), sprintf('%02x', typecast(value(:)', 'uint8')));
    end
end
