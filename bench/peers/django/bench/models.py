from django.contrib.auth.hashers import BCryptPasswordHasher, check_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class Bcrypt10(BCryptPasswordHasher):
    rounds = 10


class User(AbstractBaseUser):
    username = models.CharField(max_length=150, unique=True)
    password = models.CharField(max_length=128, db_column='password_hash')
    last_login = None
    is_active = True
    objects = BaseUserManager()
    USERNAME_FIELD = 'username'

    class Meta:
        db_table = 'users'
        managed = False

    def check_password(self, raw):
        return check_password(raw, 'bcrypt$' + self.password)


class Task(models.Model):
    title = models.CharField(max_length=255)
    description = models.TextField(null=True, blank=True)
    status = models.CharField(
        max_length=10, choices=[('pending', 'pending'), ('completed', 'completed')], default='pending'
    )
    assigned_to = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name='assigned', db_column='assigned_to'
    )
    created_by = models.ForeignKey(
        User, models.CASCADE, related_name='created', db_column='created_by'
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = 'tasks'
        managed = False
