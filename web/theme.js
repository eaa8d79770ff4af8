/* Before the first paint: the theme that was chosen here, else the system's. */
'use strict';
try {
  const theme = localStorage.getItem('macula-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme */ }
