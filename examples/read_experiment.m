% Join the batches of a recording and plot the voltage. Needs nothing but MATLAB (or Octave's h5read).
filename = 'experiment_data.h5';
channel = 'voltage';

info = h5info(filename, '/measurements');
batches = {info.Groups.Name};              % '/measurements/batch_000001', '/measurements/batch_000002', ...

timestamp = cell(numel(batches), 1);
values = cell(numel(batches), 1);
for k = 1:numel(batches)
    timestamp{k} = h5read(filename, [batches{k} '/timestamp']);   % int64 nanoseconds since 1970, UTC
    values{k} = h5read(filename, [batches{k} '/' channel]);
end
timestamp = vertcat(timestamp{:});
values = vertcat(values{:});

seconds = double(timestamp - timestamp(1)) / 1e9;                 % subtract first: a double can't hold the nanoseconds
unit = h5readatt(filename, [batches{1} '/' channel], 'units');

plot(seconds, values);
xlabel('time (s)');
ylabel([channel ' (' unit ')']);
title(h5readatt(filename, '/', 'start'));
